package pyenv

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestMissing(t *testing.T) {
	const lock = `# made by hand
six==1.16.0 \
    --hash=sha256:a1 \
    --hash=sha256:a2
numpy==2.4.6 ; python_full_version < '3.12' and sys_platform != 'win32' \
    --hash=sha256:b1
xgboost==3.2.0 ; sys_platform == 'darwin' or (os_name == 'nt' and platform_machine not in 'x y') \
    --hash=sha256:c1
own==1.0 \
    --hash=sha256:d1
`
	dir := t.TempDir()
	sizes := func() map[string]int64 { return map[string]int64{"sha256:a2": 20, "sha256:b1": 300, "sha256:c1": 4000} }
	got := New(Options{Dir: dir, UV: "no-such-uv", Sizes: sizes}).Missing([]byte(lock))
	want := &Missing{Packages: []Package{{"six==1.16.0", 20}, {"numpy==2.4.6", 300}, {"own==1.0", 0}}, Problem: ErrNoUV}
	if diff := cmp.Diff(want, got, cmpopts.EquateErrors()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got = New(Options{Dir: dir, UV: "true"}).Missing([]byte(lock))
	if got.Problem != nil || len(got.Packages) != 3 || got.Packages[0].Bytes != 0 {
		t.Errorf("without sizes it is %+v", got)
	}
	if got := New(Options{Dir: dir, UV: "true"}).Missing(nil); got == nil || len(got.Packages) != 0 {
		t.Errorf("of an empty lock it is %+v", got)
	}
}

func TestMarkers(t *testing.T) {
	for marker, want := range map[string]truth{
		"sys_platform == 'linux'":                          yes,
		`sys_platform != "linux"`:                          no,
		"python_full_version < '3.12'":                     yes,
		"python_full_version >= '3.12'":                    no,
		"python_full_version >= '3.9'":                     yes,
		"python_full_version <= '3.11'":                    unknown,
		"python_full_version < '3.11.4'":                   unknown,
		"python_version == '3.11'":                         yes,
		"python_version != '3.11'":                         no,
		"":                                                 yes,
		"python_version < '3' and sys_platform == 'win32'": no,
		"python_version < '3' or sys_platform == 'linux'":  yes,
		"(sys_platform == 'a' or os_name == 'posix') and os_name != 'nt'": yes,
		"extra == 'x'": unknown,
	} {
		if got := evaluate(marker); got != want {
			t.Errorf("%s is %v, want %v", marker, got, want)
		}
	}
}

func TestRequirements(t *testing.T) {
	const lock = `six==1.16.0 \
    --hash=sha256:a1
numpy==2.4.6 ; python_full_version < '3.12' \
    --hash=sha256:b1
numpy==2.5.0 ; python_full_version >= '3.12' \
    --hash=sha256:b2
uvicorn[standard]==0.54.0 ; extra == 'x'
own @ https://example.com/own.zip
`
	want := []Requirement{{"six", "1.16.0", ""}, {"numpy", "2.4.6", ""}, {"uvicorn", "0.54.0", "extra == 'x'"}, {"own", "", ""}}
	if diff := cmp.Diff(want, Requirements([]byte(lock))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestUVOutputIsParsed(t *testing.T) {
	var at Progress
	r := reader{at: &at, sizes: map[string]int64{}}
	for _, line := range []string{
		"Using Python 3.11.7 environment at: e1", "Resolved 37 packages in 623ms", "Downloading kiwisolver (512.0KiB)",
		"Downloading scipy (33.5MiB)", " Downloaded kiwisolver", "Prepared 37 packages in 10.01s",
	} {
		r.read(line)
	}
	if want := (Progress{Packages: 37, Bytes: 512 << 10, Total: 34 << 20}); at != want {
		t.Errorf("it is %+v, want %+v", at, want)
	}
}
