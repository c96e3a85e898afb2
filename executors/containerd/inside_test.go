package containerd

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Every path in the document is mounted or created in the container.
func TestDocument(t *testing.T) {
	task := exampleJob()
	task.Inputs["api"] = step.Port{Kind: ir.EndpointOf, Path: "http://127.0.0.1:8080"}
	task.Unit.Code.Files = []ir.CodeFile{{Path: "clean.py"}}
	doc, mounts := inside(task)
	got := map[string]string{
		"code": doc.Code, "scratch": doc.Scratch, "metrics": doc.Metrics, "progress": doc.Progress,
		"in.flights": doc.Inputs["flights"].Path, "in.api": doc.Inputs["api"].Path, "out.out": doc.Outputs["out"].Path,
		"files": strings.Join(doc.Files["data/*.csv"], " "),
	}
	if diff := cmp.Diff(map[string]string{
		"code": "/tenon/code", "scratch": "/tenon/scratch", "metrics": "/tenon/notes/metrics.json", "progress": "/tenon/notes/progress.jsonl",
		"in.flights": "/tenon/in/flights", "in.api": "http://127.0.0.1:8080", "out.out": "/tenon/out/out",
		"files": "/tenon/data/a.csv /tenon/data/b.csv",
	}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{
		"/state/runs/steps-clean-run-0011-1/step.json -> /tenon/step.json ro",
		"/state/runs/steps-clean-run-0011-1/log -> /tenon/log rw",
		"/state/runs/steps-clean-run-0011-1/log.more -> /tenon/log.more rw",
		"/state/runs/steps-clean-run-0011-1/out -> /tenon/out rw",
		"/state/runs/steps-clean-run-0011-1/notes -> /tenon/notes rw",
		"/state/runs/steps-clean-run-0011-1/scratch -> /tenon/scratch rw",
		"/state/runs/steps-clean-run-0011-1/scratch -> /tmp rw",
		"/state/artifacts/aa/bb -> /tenon/in/flights ro",
		"/home/data/a.csv -> /tenon/data/a.csv ro",
		"/home/data/b.csv -> /tenon/data/b.csv ro",
	}, listed(mounts)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if doc.Instance != "" || doc.Endpoint != nil {
		t.Errorf("a job has the endpoint %+v of %q", doc.Endpoint, doc.Instance)
	}
	without := exampleJob()
	if doc, _ := inside(without); doc.Code != "/tenon/scratch" {
		t.Errorf("a unit without files runs in %s, want its scratch", doc.Code)
	}
	if task.Inputs["flights"].Path != "/state/artifacts/aa/bb" {
		t.Error("the task was changed")
	}
}

func listed(mounts []specs.Mount) (lines []string) {
	for _, m := range mounts {
		lines = append(lines, m.Source+" -> "+m.Destination+" "+m.Options[1])
	}
	return lines
}

// Data files keep their layout below their common folder. A folder of which all files
// are wanted is mounted as a whole if others may read it, because a program runs as
// another user.
func TestDataFiles(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{
		"all/a.csv", "all/b.csv", "some/a.csv", "some/other.txt", "deep/x/y/a.csv", "deep/x/b.csv",
		"mixed/whole/a.csv", "private/a.csv", "mixed/part/a.csv", "mixed/part/other", "a-b/c.csv", "a/c.csv", "a b/ü.csv",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "linked"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(root, "private"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../all/a.csv", filepath.Join(root, "linked/a.csv")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, "years"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../all", filepath.Join(root, "years/2024")); err != nil {
		t.Fatal(err)
	}
	mounted := filepath.Join(root, "disks/mounted")
	if err := os.MkdirAll(mounted, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(filepath.Join(root, "all"), mounted, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mounted, 0); err != nil {
			t.Error(err)
		}
	})
	for name, c := range map[string]struct {
		files, found, mounts []string
	}{
		"one file among others": {[]string{"some/a.csv"}, []string{"a.csv"}, []string{"some/a.csv -> a.csv"}},
		"a whole folder":        {[]string{"all/a.csv", "all/b.csv"}, []string{"a.csv", "b.csv"}, []string{"all -> "}},
		"folders in folders":    {[]string{"deep/x/b.csv", "deep/x/y/a.csv"}, []string{"b.csv", "y/a.csv"}, []string{"deep/x -> "}},
		"whole and in part": {[]string{"mixed/part/a.csv", "mixed/whole/a.csv"}, []string{"part/a.csv", "whole/a.csv"},
			[]string{"mixed/part/a.csv -> part/a.csv", "mixed/whole -> whole"}},
		"several folders": {[]string{"all/a.csv", "some/a.csv"}, []string{"all/a.csv", "some/a.csv"},
			[]string{"all/a.csv -> all/a.csv", "some/a.csv -> some/a.csv"}},
		"names that begin alike": {[]string{"a b/ü.csv", "a-b/c.csv", "a/c.csv"}, []string{"a b/ü.csv", "a-b/c.csv", "a/c.csv"},
			[]string{"a b -> a b", "a-b -> a-b", "a -> a"}},
		"a private folder": {[]string{"private/a.csv"}, []string{"a.csv"}, []string{"private/a.csv -> a.csv"}},
		"a link":           {[]string{"linked/a.csv"}, []string{"a.csv"}, []string{"linked/a.csv -> a.csv"}},
		"a link to a folder": {[]string{"years/2024/a.csv", "years/2024/b.csv", "some/a.csv"}, []string{"years/2024/a.csv", "years/2024/b.csv", "some/a.csv"},
			[]string{"some/a.csv -> some/a.csv", "years/2024 -> years/2024"}},
		"a disk in a folder": {[]string{"disks/mounted/a.csv", "disks/mounted/b.csv", "some/a.csv"}, []string{"disks/mounted/a.csv", "disks/mounted/b.csv", "some/a.csv"},
			[]string{"disks/mounted -> disks/mounted", "some/a.csv -> some/a.csv"}},
		"one file twice": {[]string{"some/a.csv", "some/a.csv"}, []string{"a.csv", "a.csv"}, []string{"some/a.csv -> a.csv"}},
	} {
		t.Run(name, func(t *testing.T) {
			var paths []string
			for _, f := range c.files {
				paths = append(paths, filepath.Join(root, f))
			}
			found, mounts := data(map[string][]string{"*": paths, "none": {}})
			var got []string
			for _, f := range found["*"] {
				got = append(got, strings.TrimPrefix(f, "/tenon/data/"))
			}
			if diff := cmp.Diff(c.found, got); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
			var made []string
			for _, m := range mounts {
				made = append(made, strings.TrimPrefix(m.Source, root+"/")+" -> "+strings.TrimPrefix(strings.TrimPrefix(m.Destination, "/tenon/data"), "/"))
			}
			if diff := cmp.Diff(c.mounts, made); diff != "" {
				t.Errorf("mounts (-want +got):\n%s", diff)
			}
			if none, there := found["none"]; !there || len(none) != 0 {
				t.Errorf("a pattern without files became %v", none)
			}
		})
	}
}

func TestCommands(t *testing.T) {
	const run = "/tenon/run -log /tenon/log -fault /tenon/notes/fault -exit /tenon/notes/exit -dir /tenon/scratch "
	for want, code := range map[string]ir.Code{
		run + "-- clean --all":                                  {Runtime: ir.Command, Command: []string{"clean", "--all"}},
		run + "-- /opt/tenon/env/bin/python serve.py":           {Runtime: ir.Python, Command: []string{"serve.py"}},
		run + "-- /tenon/bin/tenon-duck step":                   {Runtime: ir.Builtin},
		run + "-secrets /tenon/secrets/variables.json -- clean": {Runtime: ir.Command, Command: []string{"clean"}},
	} {
		task := executors.Task{Unit: ir.Unit{Code: code}}
		if got := strings.Join(command(task, step.Step{Code: "/tenon/scratch"}, strings.Contains(want, "-secrets"), nil), " "); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// The contract's own variables override those of the image, and these override the
// defaults of every program. Only the proxy variables of tenon's own environment are
// passed on.
func TestVariables(t *testing.T) {
	ofImage := []string{"PATH=/image", "HOME=/root", "TENON_STEP=/etc/x", "TMPDIR=/var", "OMP_NUM_THREADS=99", "http_proxy=http://image", "KEEP=a=b", "EMPTY="}
	ofTenon := []string{"http_proxy=http://proxy", "PASSWORD=x", "LD_PRELOAD=/x", "PATH=/mine"}
	locked := executors.Task{Lock: "/state/code/00.lock"}
	for name, c := range map[string]struct {
		task  executors.Task
		image []string
		open  bool
		want  map[string]string // "-" means absent
	}{
		"nothing said":        {want: map[string]string{"LANG": "C.UTF-8", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tenon/scratch", "http_proxy": "-", "VIRTUAL_ENV": "-"}},
		"what the image says": {image: ofImage, want: map[string]string{"PATH": "/image", "KEEP": "a=b", "EMPTY": "", "http_proxy": "http://image"}},
		"what it cannot say":  {image: append(ofImage, "TZ=Asia/Kolkata", "LANG=de_DE.UTF-8", "LC_ALL=POSIX"), want: map[string]string{"TZ": "UTC", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "HOME": "/tenon/scratch", "TMPDIR": "/tenon/scratch", "TENON_STEP": "/tenon/step.json", "OMP_NUM_THREADS": "1"}},
		"with a network":      {image: ofImage, open: true, want: map[string]string{"http_proxy": "http://proxy", "PASSWORD": "-", "LD_PRELOAD": "-", "PATH": "/image"}},
		"with Python":         {task: locked, want: map[string]string{"VIRTUAL_ENV": "/opt/tenon/env", "PATH": "/opt/tenon/env/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}},
		"Python in the path":  {task: locked, image: []string{"PATH=/opt/tenon/env/bin:/bin"}, want: map[string]string{"PATH": "/opt/tenon/env/bin:/bin"}},
		"secrets":             {task: executors.Task{Env: map[string]string{"PASSWORD": "correct-horse"}}, want: map[string]string{"PASSWORD": "-"}},
	} {
		list := environ(c.task, c.image, ofTenon, c.open)
		got := map[string]string{}
		for _, kv := range list {
			k, v, _ := strings.Cut(kv, "=")
			if _, twice := got[k]; twice {
				t.Errorf("%s: %s is there twice", name, k)
			}
			got[k] = v
		}
		for k, want := range c.want {
			if v, there := got[k]; there == (want == "-") || there && v != want {
				t.Errorf("%s: %s is %q (there: %v), want %q", name, k, v, there, want)
			}
		}
		if !slices.IsSorted(list) {
			t.Errorf("%s: not sorted: %q", name, list)
		}
	}
}
