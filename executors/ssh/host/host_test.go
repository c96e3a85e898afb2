package host

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/artifact"
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What is sent and received is the same, whatever it is.
func TestContent(t *testing.T) {
	root := t.TempDir()
	file, folder, empty := filepath.Join(root, "file"), filepath.Join(root, "folder"), filepath.Join(root, "empty")
	ok(t, os.WriteFile(file, []byte("content"), 0o644))
	ok(t, os.MkdirAll(filepath.Join(folder, "a/b"), 0o755))
	ok(t, os.Mkdir(empty, 0o755))
	ok(t, os.WriteFile(filepath.Join(folder, "a/b/run.sh"), []byte("#!/bin/sh\n"), 0o755))
	ok(t, os.WriteFile(filepath.Join(folder, "a/ü \"q\"\n"), nil, 0o644))
	ok(t, os.Symlink("b/run.sh", filepath.Join(folder, "a/link")))
	for _, path := range []string{file, folder, empty} {
		ref, _, err := artifact.Look(t.Context(), path)
		ok(t, err)
		var sent bytes.Buffer
		to := path + ".copy"
		if ref.Dir {
			contents, err := artifact.ContentsOf(t.Context(), path)
			ok(t, err)
			ok(t, Send(t.Context(), &sent, contents, nil))
			_, err = Receive(&sent, to, nil)
			ok(t, err)
		} else {
			ok(t, SendFile(t.Context(), &sent, path))
			ok(t, ReceiveFile(&sent, to))
		}
		if got, err := artifact.Digest(t.Context(), to); err != nil || got != ref.Digest {
			t.Errorf("%s arrived as %s, %v; want %s", path, got, err, ref.Digest)
		}
		if sent.Len() > 0 {
			t.Errorf("%d bytes of %s were not read", sent.Len(), path)
		}
	}
}

// folder returns what a sender sends for a folder with a listing, which may be a lie.
func folder(listing, content string) *bytes.Buffer {
	var b bytes.Buffer
	_ = binary.Write(&b, binary.BigEndian, uint64(len(listing)))
	b.WriteString(listing + content)
	return &b
}

// Nothing that is received leaves its folder or fills the memory.
func TestContentRefused(t *testing.T) {
	target := ir.Sum([]byte("/etc"))
	for name, sent := range map[string]*bytes.Buffer{
		"a path out of the folder": folder("f 1 "+ir.Sum([]byte("x"))+" \"../x\"\n", "\x01x"),
		"a link out of the folder": folder("l 4 "+target+" \"x\"\n", "\x01/etc"),
		"a link without an end":    folder("l 4097 "+target+" \"x\"\n", "\x01"+strings.Repeat("a", 4097)),
		"too few bytes":            folder("f 9 "+ir.Sum([]byte("x"))+" \"x\"\n", "\x01x"),
		"a file that is not there": folder("f 1 "+ir.Sum([]byte("x"))+" \"x\"\n", "\x00"),
		"a listing without an end": bytes.NewBuffer([]byte{0, 0, 1, 0, 0, 0, 0, 0}),
		"no listing":               bytes.NewBuffer([]byte{0, 0}),
		"half a listing":           bytes.NewBuffer([]byte{0, 0, 0, 0, 0, 0, 0, 9, 'f'}),
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if _, err := Receive(sent, filepath.Join(root, "to"), nil); err == nil {
				t.Error("it was received")
			}
			if entries, err := os.ReadDir(root); err != nil || len(entries) > 1 || len(entries) == 1 && entries[0].Name() != "to" {
				t.Errorf("it left %v, %v", entries, err)
			}
		})
	}
}

// Of a folder, only files that the host has in no other one are sent, and a file that was damaged
// there is sent again.
func TestOnlyWhatIsLacking(t *testing.T) {
	s, h := newServer(t)
	root := t.TempDir()
	ok(t, os.WriteFile(filepath.Join(root, "same"), []byte("same"), 0o644))
	put := func(changed string, has string) (*httptest.ResponseRecorder, string) {
		t.Helper()
		ok(t, os.WriteFile(filepath.Join(root, "changed"), []byte(changed), 0o755))
		c, err := artifact.ContentsOf(t.Context(), root)
		ok(t, err)
		var sent bytes.Buffer
		ok(t, Send(t.Context(), &sent, c, func(e artifact.Entry) bool { return e.Path == has }))
		return request(h, http.MethodPut, ArtifactPath+c.Digest()+"?folder", sent.String()), c.Digest()
	}
	lacks := func() (digests []string) {
		t.Helper()
		c, err := artifact.ContentsOf(t.Context(), root)
		ok(t, err)
		b, err := json.Marshal(Lacking{Listing: string(artifact.Listing(c.Entries))})
		ok(t, err)
		ok(t, json.Unmarshal(request(h, http.MethodPost, LackPath, string(b)).Body.Bytes(), &digests))
		return digests
	}
	if got := lacks(); len(got) != 1 || got[0] != ir.Sum([]byte("same")) {
		t.Errorf("a new host lacks %v", got)
	}
	if w, _ := put("1", "same"); w.Code != http.StatusConflict {
		t.Errorf("it takes a folder with a file that it does not have: %d %s", w.Code, w.Body)
	}
	if w, digest := put("1", ""); w.Code != http.StatusOK || !s.artifacts.Has(digest) {
		t.Errorf("put answered %d: %s", w.Code, w.Body)
	}
	w, digest := put("2", "same")
	if got := lacks(); w.Code != http.StatusOK || !s.artifacts.Has(digest) || len(got) > 0 {
		t.Errorf("put answered %d: %s, and it lacks %v", w.Code, w.Body, got)
	}
	same := s.filePath(ofArtifacts, artifact.Entry{Digest: ir.Sum([]byte("same"))})
	ok(t, os.Remove(same))
	ok(t, os.WriteFile(same, []byte("evil"), 0o644))
	w, digest = put("3", "same")
	if w.Code != http.StatusConflict || s.artifacts.Has(digest) {
		t.Errorf("put of a damaged file answered %d: %s", w.Code, w.Body)
	}
	if got := lacks(); len(got) != 2 {
		t.Errorf("it lacks %v, and has a damaged file", got)
	}
}

// A program that writes to its environment changes no artifact, and trees share files with each other.
func TestTreesAreApart(t *testing.T) {
	s, h := newServer(t)
	put := func(path string, contents map[string]string) (digest string) {
		t.Helper()
		root := t.TempDir()
		for name, text := range contents {
			ok(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o644))
		}
		c, err := artifact.ContentsOf(t.Context(), root)
		ok(t, err)
		listing, err := json.Marshal(Lacking{Listing: string(artifact.Listing(c.Entries))})
		ok(t, err)
		var lacking []string
		ok(t, json.Unmarshal(request(h, http.MethodPost, LackPath, string(listing)).Body.Bytes(), &lacking))
		var sent bytes.Buffer
		ok(t, Send(t.Context(), &sent, c, func(e artifact.Entry) bool { return !slices.Contains(lacking, e.Digest) }))
		if w := request(h, http.MethodPut, path+c.Digest()+"?folder", sent.String()); w.Code != http.StatusOK {
			t.Fatalf("put answered %d: %s", w.Code, w.Body)
		}
		return c.Digest()
	}
	inode := func(path string) uint64 {
		t.Helper()
		var st unix.Stat_t
		ok(t, unix.Stat(path, &st))
		return st.Ino
	}
	data := put(ArtifactPath, map[string]string{"same": "content"})
	first := put(TreePath, map[string]string{"same": "content", "more": "1"})
	second := put(TreePath, map[string]string{"same": "content", "more": "2"})
	of := func(dir string) string { return filepath.Join(dir, "same") }
	if a, b := inode(of(s.treePath(first))), inode(of(s.treePath(second))); a != b || a == inode(of(s.artifacts.Path(data))) {
		t.Error("trees do not share a file with each other, or do with an artifact")
	}
	ok(t, os.Chmod(of(s.treePath(first)), 0o600))
	ok(t, os.WriteFile(of(s.treePath(first)), []byte("changed"), 0o600))
	if got, err := artifact.Digest(t.Context(), s.artifacts.Path(data)); err != nil || got != data {
		t.Errorf("the artifact is now %s, %v", got, err)
	}
	// And an artifact that is made of a file of a tree is compared with its digest.
	put(ArtifactPath, map[string]string{"same": "content", "more": "1"})
}

func newServer(t *testing.T) (*server, http.Handler) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tenon")
	s, err := open(Options{Dir: dir, Runner: ir.Sum([]byte("runner"))})
	ok(t, err)
	return s, s.handler()
}

func request(h http.Handler, method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w
}

// What does not have the digest under which it was sent is not kept under it.
func TestDamaged(t *testing.T) {
	s, h := newServer(t)
	digest := ir.Sum([]byte("what was meant"))
	for _, path := range []string{ArtifactPath, ProgramPath} {
		if w := request(h, http.MethodPut, path+digest, "what arrived"); w.Code == http.StatusOK || !strings.Contains(w.Body.String(), digest) {
			t.Errorf("%s answered %d: %s", path, w.Code, w.Body)
		}
		if w := request(h, http.MethodPut, path+"x", "what arrived"); w.Code != http.StatusBadRequest {
			t.Errorf("%s took something that is no digest: %d", path, w.Code)
		}
	}
	if _, err := os.Stat(s.program(digest)); s.artifacts.Has(digest) || err == nil {
		t.Error("it is there nevertheless")
	}
	if w := request(h, http.MethodPut, ArtifactPath+digest, "what was meant"); w.Code != http.StatusOK || !s.artifacts.Has(digest) {
		t.Errorf("what is right was answered with %d: %s", w.Code, w.Body)
	}
	if w := request(h, http.MethodGet, ArtifactPath+digest, ""); w.Body.String() != "what was meant" {
		t.Errorf("the artifact is %q", w.Body)
	}
}

// Names in requests are those of folders and files of runs, and nothing else.
func TestNames(t *testing.T) {
	_, h := newServer(t)
	for _, path := range []string{StartPath, FindPath, InspectPath, ResultPath, DestroyPath, LogsPath} {
		for _, run := range []string{"", "..", "../../etc", "a/b", "A"} {
			if w := request(h, http.MethodPost, path, `{"run":"`+run+`"}`); w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), "is not the name of a run") {
				t.Errorf("%s of %q answered %d: %s", path, run, w.Code, w.Body)
			}
		}
		if w := request(h, http.MethodPost, path, `{`); w.Code != http.StatusBadRequest {
			t.Errorf("%s took half a request: %d", path, w.Code)
		}
	}
}

// A folder that others can reach is refused, because jobs have secrets.
func TestFolder(t *testing.T) {
	dir := t.TempDir()
	ok(t, os.Chmod(dir, 0o750))
	if _, err := open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "run `chmod 700 "+dir+"`") {
		t.Errorf("open gave %v", err)
	}
}

// Amounts are exact, to a thousandth of a core and a byte.
func TestRoom(t *testing.T) {
	capacity := ir.Resources{MilliCPU: 4000, Memory: 8 << 30}
	for _, tt := range []struct {
		claim, used ir.Resources
		want        string
	}{
		{ir.Resources{MilliCPU: 4000, Memory: 8 << 30}, ir.Resources{}, ""},
		{ir.Resources{MilliCPU: 4001}, ir.Resources{}, "it needs 4.001 of 4 cores, of which 4 are free"},
		{ir.Resources{MilliCPU: 1}, ir.Resources{MilliCPU: 4000}, "it needs 0.001 of 4 cores, of which 0 are free"},
		{ir.Resources{Memory: 1<<30 + 1}, ir.Resources{Memory: 7 << 30}, "it needs 1073741825B of 8GiB of memory, of which 1GiB is free"},
		{ir.Resources{MilliCPU: 1}, ir.Resources{MilliCPU: 9000}, "it needs 0.001 of 4 cores, of which 0 are free"},
	} {
		if got := beyond(tt.claim, capacity, tt.used); got != tt.want {
			t.Errorf("%+v beside %+v lacks %q, want %q", tt.claim, tt.used, got, tt.want)
		}
	}
	if got := claimed(ir.Resources{}, ir.Resources{MilliCPU: 500}); got.MilliCPU != 500 {
		t.Errorf("a job that asks for nothing takes %d of half a core", got.MilliCPU)
	}
	if got := capacityOf(ir.Resources{}); got.MilliCPU < 1000 || got.Memory < 1<<20 {
		t.Errorf("this machine has %+v", got)
	}
}

// FuzzReceive feeds a receiver with anything: it neither panics nor writes elsewhere.
func FuzzReceive(f *testing.F) {
	f.Add(folder("d 0  \"a\"\n", "").Bytes())
	f.Add(folder("f 1 "+ir.Sum([]byte("x"))+" \"x\"\n", "\x01x").Bytes())
	f.Fuzz(func(t *testing.T, sent []byte) {
		root := t.TempDir()
		_, _ = Receive(bytes.NewReader(sent), filepath.Join(root, "to"), nil) // most of it is refused
		entries, err := os.ReadDir(root)
		ok(t, err)
		if len(entries) > 1 || len(entries) == 1 && entries[0].Name() != "to" {
			t.Fatalf("it wrote %v", entries)
		}
	})
}
