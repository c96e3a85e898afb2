package image_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/image"
)

// lockText locks a package with a console script, and one without.
const lockText = `iniconfig==2.0.0 \
    --hash=sha256:2d91e135bf72d31a410b17c16da610a82cb55f6b0477d1a902134b24a455b8b3 \
    --hash=sha256:b6a85871a79d2e3b22d2d1b94ac2824226a63c6b741c88f7ae975f18b6778374
tabulate==0.9.0 \
    --hash=sha256:0095b12bf5966de529c0feb1fa08671671b3368eec77d7ef7ab114be2c068b3c \
    --hash=sha256:024ca478df22e9340661486f85298cff5f6dcdba14f3813e8830015b9ed1948f
`

// The tests of environments need uv. Without it they fail.
func uv(t *testing.T) string {
	t.Helper()
	name := os.Getenv("TENON_UV")
	if name == "" {
		name = "uv"
	}
	name, err := exec.LookPath(name)
	if err != nil {
		t.Fatal("these tests need uv in PATH or in $TENON_UV: python3 -m pip install uv")
	}
	return name
}

// A file is a member of an archive; a name that ends in a slash is a folder.
type file struct{ name, text string }

func archive(t testing.TB, name string, files ...file) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.text)), Typeflag: tar.TypeReg}
		if strings.HasSuffix(f.name, "/") {
			h.Mode, h.Typeflag = 0o755, tar.TypeDir
		}
		if err := errors.Join(w.WriteHeader(h), write(w, f.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return save(t, name, b.Bytes())
}

func write(w io.Writer, text string) error {
	_, err := io.WriteString(w, text)
	return err
}

func save(t testing.TB, name string, b []byte) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

const baseName = "localhost/test/python:3.11"

// base imports a base that looks as if it had Python.
func base(t *testing.T, s *image.Store, more ...file) string {
	t.Helper()
	tree := archive(t, "root.tar", append([]file{{"./", ""}, {"./usr/", ""}, {"./usr/bin/", ""}, {"./usr/bin/python3.11", "#!"}}, more...)...)
	pinned, err := s.Import(t.Context(), tree, baseName)
	if err != nil {
		t.Fatal(err)
	}
	return pinned
}

func store(t *testing.T) *image.Store {
	t.Helper()
	return image.New(image.Options{Dir: t.TempDir(), UV: uv(t), Hosts: t.TempDir()})
}

func build(t *testing.T, s *image.Store, r image.Recipe) v1.Image {
	t.Helper()
	img, err := s.Build(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	valid(t, img)
	return img
}

// valid reads an image completely and verifies its digests.
func valid(t *testing.T, img v1.Image) {
	t.Helper()
	if err := validate.Image(img, validate.Fast); err != nil { // only the fast checks: the others expect every layer to be gzip
		t.Errorf("the image is not valid: %v", err)
	}
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	all, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range all {
		for what, read := range map[string]func() (io.ReadCloser, error){m.Layers[i].Digest.String(): l.Compressed, c.RootFS.DiffIDs[i].String(): l.Uncompressed} {
			r, err := read()
			if err != nil {
				t.Fatal(err)
			}
			h, _, err := v1.SHA256(r)
			if err := errors.Join(err, r.Close()); err != nil {
				t.Fatal(err)
			}
			if h.String() != what {
				t.Errorf("layer %d is %s, not %s", i, h, what)
			}
		}
	}
}

func digest(t *testing.T, img v1.Image) string {
	t.Helper()
	h, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

func layers(t *testing.T, img v1.Image) []image.Layer {
	t.Helper()
	l, err := image.Layers(img)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func whole(t *testing.T, s *image.Store) image.Recipe {
	return image.Recipe{
		Base: base(t, s), Lock: []byte(lockText), Python: "3.11", Tenon: save(t, "tenon", []byte("a program")), Duck: save(t, "tenon-duck", []byte("of SQL")), Pod: save(t, "tenon-pod", []byte("of a pod")),
		Code: fstest.MapFS{"train.py": {Data: []byte("print()")}, "_tenon/table.py": {Data: []byte("pass"), Mode: 0o600}},
	}
}

func TestEqualRecipesGiveEqualDigests(t *testing.T) {
	var digests []string
	for _, name := range []string{"one", strings.Repeat("another place/", 12)} {
		t.Setenv("UV_CACHE_DIR", t.TempDir())
		s := image.New(image.Options{Dir: filepath.Join(t.TempDir(), name), UV: uv(t)})
		digests = append(digests, digest(t, build(t, s, whole(t, s))))
	}
	if digests[0] != digests[1] {
		t.Errorf("the digests are %s and %s", digests[0], digests[1])
	}
}

func TestAChangeChangesItsLayerOnly(t *testing.T) {
	s := store(t)
	r := whole(t, s)
	before := layers(t, build(t, s, r))
	for what, change := range map[string]func(*image.Recipe){
		"base":        func(r *image.Recipe) { r.Base = base(t, s, file{"./etc/motd", "hello"}) },
		"environment": func(r *image.Recipe) { r.Lock = []byte(lockText[:strings.Index(lockText, "tabulate")]) },
		"tenon":       func(r *image.Recipe) { r.Tenon = save(t, "tenon", []byte("another program")) },
		"duck":        func(r *image.Recipe) { r.Duck = save(t, "tenon-duck", []byte("of another SQL")) },
		"pod":         func(r *image.Recipe) { r.Pod = save(t, "tenon-pod", []byte("of another pod")) },
		"code":        func(r *image.Recipe) { r.Code = fstest.MapFS{"train.py": {Data: []byte("print(1)")}} },
	} {
		t.Run(what, func(t *testing.T) {
			changed := r
			change(&changed)
			after := layers(t, build(t, s, changed))
			for i, l := range after {
				if differs := l.Digest != before[i].Digest; differs != (l.What == what) {
					t.Errorf("another %s: the layer %s differs: %v", what, l.What, differs)
				}
				if l.Made != (l.What == what && what != "base") {
					t.Errorf("another %s: the layer %s was made: %v", what, l.What, l.Made)
				}
			}
		})
	}
}

// A caller can receive progress instead of the log.
func TestSlowWorkIsReported(t *testing.T) {
	var log bytes.Buffer
	s := image.New(image.Options{Dir: t.TempDir(), UV: uv(t), Log: &log})
	var said []string
	r := whole(t, s)
	log.Reset() // drop the lines of the import
	if _, err := s.Build(image.WithProgress(t.Context(), func(text string) { said = append(said, text) }), r); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(said, "building a Python environment") || log.Len() > 0 {
		t.Errorf("told %q, and logged %q", said, log.String())
	}
}

func TestEqualLocksAreBuiltOnce(t *testing.T) {
	var log bytes.Buffer
	o := image.Options{Dir: t.TempDir(), UV: uv(t), Log: &log}
	r := whole(t, image.New(o))
	var mu sync.Mutex
	var wg sync.WaitGroup
	made := map[string]int{}
	for range 4 { // each round uses another Store, so that they share only the folder
		wg.Go(func() {
			o := o
			o.Log = nil
			img, err := image.New(o).Build(t.Context(), r)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for _, l := range layers(t, img) {
				if l.Made {
					made[l.What]++
				}
			}
		})
	}
	wg.Wait()
	if want := map[string]int{"environment": 1, "tenon": 1, "duck": 1, "pod": 1, "code": 1}; !cmp.Equal(made, want) {
		t.Errorf("made %v, want %v", made, want)
	}
	// No work files are left, and uv does not run again.
	left, err := filepath.Glob(filepath.Join(o.Dir, "work", "*"))
	if err != nil {
		t.Fatal(err)
	}
	if left = slices.DeleteFunc(left, func(n string) bool { return strings.HasSuffix(n, ".lock") }); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
	o.UV = "/no/such/uv"
	log.Reset()
	build(t, image.New(o), r)
	if log.Len() > 0 {
		t.Errorf("the second time it says %q", log.String())
	}
}

func TestLostLayerIsBuiltAgain(t *testing.T) {
	dir := t.TempDir()
	s := image.New(image.Options{Dir: dir, UV: uv(t)})
	r := whole(t, s)
	first := build(t, s, r)
	for _, l := range layers(t, first)[1:] {
		if err := os.Remove(filepath.Join(dir, "blobs", "sha256", l.Digest.Hex)); err != nil {
			t.Fatal(err)
		}
	}
	again := build(t, s, r)
	if digest(t, again) != digest(t, first) {
		t.Error("it came out otherwise")
	}
	for _, l := range layers(t, again)[1:] {
		if !l.Made {
			t.Errorf("the layer %s was not made", l.What)
		}
	}
}

func TestDamagedLayerIsFoundAndRebuilt(t *testing.T) {
	dir := t.TempDir()
	s := image.New(image.Options{Dir: dir, UV: uv(t)})
	r := whole(t, s)
	img := build(t, s, r)
	for i, l := range layers(t, img)[1:] {
		file := filepath.Join(dir, "blobs", "sha256", l.Digest.Hex)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
		all, err := img.Layers()
		if err != nil {
			t.Fatal(err)
		}
		read, err := all[i+1].Compressed()
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, read)
		wantError(t, errors.Join(err, read.Close()), file+" was damaged and has been removed")
	}
	again := build(t, s, r)
	if digest(t, again) != digest(t, img) {
		t.Error("it came out otherwise")
	}
	for _, l := range layers(t, again)[1:] {
		if !l.Made {
			t.Errorf("the layer %s was not made", l.What)
		}
	}
}

func TestPartialBuildIsNotUsed(t *testing.T) {
	dir := t.TempDir()
	s := image.New(image.Options{Dir: dir, UV: uv(t)})
	r := whole(t, s)
	want := digest(t, build(t, s, r))
	if err := os.RemoveAll(filepath.Join(dir, "found")); err != nil {
		t.Fatal(err)
	}
	locks, err := filepath.Glob(filepath.Join(dir, "work", "*.lock"))
	if err != nil || len(locks) == 0 {
		t.Fatalf("locks are %v, %v", locks, err)
	}
	for _, l := range locks {
		half := strings.TrimSuffix(l, ".lock")
		if err := errors.Join(os.MkdirAll(filepath.Join(half, "bin"), 0o755), os.WriteFile(half+"/bin/python", nil, 0o644), os.WriteFile(half+".tar", []byte(strings.Repeat("x", 1<<20)), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if got := digest(t, build(t, s, r)); got != want {
		t.Errorf("it is %s, not %s", got, want)
	}
}

// member is what a layer has of a file.
type member struct {
	Mode int64
	Link string
	Text string
}

// members reads a layer and checks what must hold for all of its members.
func members(t *testing.T, img v1.Image, what string) map[string]member {
	t.Helper()
	i := slices.IndexFunc(layers(t, img), func(l image.Layer) bool { return l.What == what })
	all, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	r, err := all[i].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out := map[string]member{}
	last := ""
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname+h.Gname != "" || h.ModTime.Year() != 1980 || len(h.PAXRecords) > 0 && h.PAXRecords["path"] == "" {
			t.Errorf("%s contains who made it: %+v", h.Name, h)
		}
		if name := strings.ReplaceAll(h.Name, "/", "\x00"); name < last {
			t.Errorf("%s comes behind %s", h.Name, last)
		} else {
			last = name
		}
		out[h.Name] = member{h.Mode, h.Linkname, string(b)}
	}
}

func TestImageContents(t *testing.T) {
	s := store(t)
	img := build(t, s, whole(t, s))

	if diff := cmp.Diff(map[string]member{
		"tenon/": {Mode: 0o755}, "tenon/bin/": {Mode: 0o755}, "tenon/bin/tenon": {Mode: 0o755, Text: "a program"},
	}, members(t, img, "tenon")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]member{
		"tenon/": {Mode: 0o755}, "tenon/bin/": {Mode: 0o755}, "tenon/bin/tenon-duck": {Mode: 0o755, Text: "of SQL"},
	}, members(t, img, "duck")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]member{
		"tenon/": {Mode: 0o755}, "tenon/bin/": {Mode: 0o755}, "tenon/bin/tenon-pod": {Mode: 0o755, Text: "of a pod"},
	}, members(t, img, "pod")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]member{
		"tenon/": {Mode: 0o755}, "tenon/code/": {Mode: 0o755}, "tenon/code/_tenon/": {Mode: 0o755},
		"tenon/code/_tenon/table.py": {Mode: 0o555, Text: "pass"}, "tenon/code/train.py": {Mode: 0o555, Text: "print()"},
	}, members(t, img, "code")); diff != "" {
		t.Error(diff)
	}

	env := members(t, img, "environment")
	const packages = "opt/tenon/env/lib/python3.11/site-packages/"
	for name, want := range map[string]member{
		"opt/tenon/env/pyvenv.cfg":      {Mode: 0o644, Text: "home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11\n"},
		"opt/tenon/env/bin/python":      {Mode: 0o777, Link: "/usr/bin/python3.11"},
		"opt/tenon/env/bin/python3":     {Mode: 0o777, Link: "python"},
		"opt/tenon/env/bin/python3.11":  {Mode: 0o777, Link: "python"},
		packages + "iniconfig/py.typed": {Mode: 0o644},
	} {
		if diff := cmp.Diff(want, env[name]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	script := env["opt/tenon/env/bin/tabulate"]
	if script.Mode != 0o755 || !strings.HasPrefix(script.Text, "#!/opt/tenon/env/bin/python\n") {
		t.Errorf("the console script is %o %q", script.Mode, script.Text)
	}
	sum := sha256.Sum256([]byte(script.Text))
	record := fmt.Sprintf("../../../bin/tabulate,sha256=%s,%d\n", base64.RawURLEncoding.EncodeToString(sum[:]), len(script.Text))
	if list := env[packages+"tabulate-0.9.0.dist-info/RECORD"].Text; !strings.Contains(list, record) {
		t.Errorf("RECORD lacks %q:\n%s", record, list)
	}
	compiled := env[packages+"iniconfig/__pycache__/__init__.cpython-311.pyc"].Text
	if len(compiled) < 16 || compiled[4] != 1 || !strings.Contains(compiled, "/"+packages+"iniconfig/__init__.py") {
		t.Errorf("the module is not compiled to be taken unseen, under its path in the image: %.16q", compiled)
	}
	for name, m := range env {
		if strings.Contains(m.Text, os.TempDir()) || strings.HasSuffix(name, ".lock") || strings.Contains(path.Base(name), "activate") || strings.Contains(name, "uv_cache") {
			t.Errorf("%s is of the machine that made it", name)
		}
	}
}

func TestABaseWithoutPython(t *testing.T) {
	s := store(t)
	r := image.Recipe{Base: base(t, s), Python: "3.12"}
	_, err := s.Build(t.Context(), r)
	wantError(t, err, "no Python 3.12 in "+baseName, "/usr/local/bin/python3.12 and /usr/bin/python3.12", "found /usr/bin/python3.11", image.DefaultBase)
}

func TestCodeMayNotBeAnything(t *testing.T) {
	s := store(t)
	dir := t.TempDir()
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	_, err := s.Build(t.Context(), image.Recipe{Base: base(t, s), Code: os.DirFS(dir)})
	wantError(t, err, "make the code layer", "link is not a regular file")
}

func TestRecipeFor(t *testing.T) {
	code, lock := fs.FS(fstest.MapFS{}), []byte("six")
	files := []ir.CodeFile{{Path: "train.py"}}
	for name, c := range map[string]struct {
		unit ir.Code
		lock []byte
		duck string
		want image.Recipe
	}{
		"builtin":                  {ir.Code{Runtime: ir.Builtin}, nil, "", image.Recipe{Base: "base", Duck: "program"}},
		"python":                   {ir.Code{Runtime: ir.Python, Python: "3.12", Files: files}, lock, "", image.Recipe{Base: "base", Code: code, Lock: lock, Python: "3.12"}},
		"python without packages":  {ir.Code{Runtime: ir.Python, Python: "3.11", Files: files}, nil, "", image.Recipe{Base: "base", Code: code, Python: "3.11"}},
		"command":                  {ir.Code{Runtime: ir.Command, Files: files}, nil, "", image.Recipe{Base: "base", Code: code}},
		"command with packages":    {ir.Code{Runtime: ir.Command, Files: files}, lock, "", image.Recipe{Base: "base", Code: code, Lock: lock, Python: "3.11"}},
		"command in its own image": {ir.Code{Runtime: ir.Command, Image: "own"}, nil, "", image.Recipe{Base: "own"}},
		"plane":                    {ir.Code{Runtime: ir.Plane, Python: "3.11"}, lock, "", image.Recipe{Base: "base", Lock: lock, Python: "3.11", Serve: "program"}},
		"plane that starts DuckDB": {ir.Code{Runtime: ir.Plane, Python: "3.11", DuckDB: "parity"}, lock, "duck", image.Recipe{Base: "base", Lock: lock, Python: "3.11", Serve: "program", Duck: "duck"}},
	} {
		got := image.RecipeFor(ir.Unit{Code: c.unit}, "base", image.Parts{Code: code, Lock: c.lock, Program: "program", Duck: c.duck})
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// Code that reaches the unit in another way does not change the image.
func TestRecipeForCodeThatIsNotInTheImage(t *testing.T) {
	for _, unit := range []ir.Code{{Runtime: ir.Python, Python: "3.12", Files: []ir.CodeFile{{Path: "train.py"}}}, {Runtime: ir.Python, Python: "3.12", Files: []ir.CodeFile{{Path: "other.py"}}}} {
		if diff := cmp.Diff(image.Recipe{Base: "base", Lock: []byte("six"), Python: "3.12"}, image.RecipeFor(ir.Unit{Code: unit}, "base", image.Parts{Lock: []byte("six"), Program: "duck"})); diff != "" {
			t.Error(diff)
		}
	}
}

func TestEmptyLayerEqualsTheBase(t *testing.T) {
	s := store(t)
	pinned := base(t, s)
	if got := digest(t, build(t, s, image.Recipe{Base: pinned})); !strings.HasSuffix(pinned, got) {
		t.Errorf("it is %s, want %s", got, pinned)
	}
}

func wantTypes(t *testing.T, img v1.Image, want ...types.MediaType) {
	t.Helper()
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	got := []types.MediaType{m.MediaType, m.Config.MediaType}
	for _, l := range m.Layers {
		got = append(got, l.MediaType)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", parts)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q lacks %q", err, p)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("the error has several lines: %q", err)
	}
}

// The exact version of Python is in the program of a distribution, or in the headers beside
// a program that is built from source. A later layer may remove or replace either.
func TestTheVersionOfPythonInABase(t *testing.T) {
	const program, built = "usr/bin/python3.11", "usr/local/bin/python3.11"
	head := func(version string) file {
		return file{"usr/local/include/python3.11/patchlevel.h", "#define PY_VERSION_HEX 1\n#define PY_VERSION      \t\"" + version + "\"\n"}
	}
	for name, c := range map[string]struct {
		files []file
		want  string
	}{
		"a distribution":                {[]file{{program, "\x7fELF\x00alloc\x003.11.2\x00str\x003.2.0\x00"}}, "3.11.2"},
		"built from source":             {[]file{{built, "\x7fELF"}, head("3.11.14")}, "3.11.14"},
		"both, and the first is used":   {[]file{{program, "\x003.11.2\x00"}, {built, "\x7fELF"}, head("3.11.14")}, "3.11.14"},
		"a release candidate":           {[]file{{built, "\x7fELF"}, head("3.11.0rc1")}, "3.11.0rc1"},
		"headers of no program":         {[]file{{program, "#!"}, head("3.11.14")}, ""},
		"no version":                    {[]file{{program, "#!"}}, ""},
		"more versions than it can be":  {[]file{{program, "\x003.11.2\x00 \x003.11.3\x00"}}, ""},
		"the version of something else": {[]file{{program, "openssl-3.11.2 "}}, ""},
		"the headers of another Python": {[]file{{built, "\x7fELF"}, {"usr/local/include/python3.12/patchlevel.h", `#define PY_VERSION "3.12.1"`}}, ""},
	} {
		s := store(t)
		pinned, err := s.Import(t.Context(), archive(t, "root.tar", c.files...), baseName)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second answer is a kept one
			if got, err := s.Python(t.Context(), pinned, "3.11"); err != nil || got != c.want {
				t.Errorf("%s: %q, %v, want %q", name, got, err, c.want)
			}
		}
	}
	s := store(t)
	if _, err := s.Python(t.Context(), base(t, s), "3.12"); err == nil || !strings.Contains(err.Error(), "no Python 3.12") {
		t.Errorf("another version: %v", err)
	}
}
