package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func newKey(t *testing.T) Private {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.pem")
	public, err := NewKey(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParsePrivate(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := key.Public().String(); got != public.String() {
		t.Fatalf("the public key is %s, and was %s", got, public)
	}
	return key
}

// made writes a signed bundle with a text as its model.
func made(t *testing.T, key Private, text string) (dir, digest string) {
	t.Helper()
	dir = t.TempDir()
	for name, content := range map[string]string{"model/plane.json": text, "service.json": "{}", "empty": ""} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, Program), []byte("the program"), 0o755); err != nil {
		t.Fatal(err)
	}
	digest, err := Manifest{Name: "shop/api", Platform: "linux/test", Code: "1"}.Write(dir)
	if err == nil {
		err = Sign(dir, key)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir, digest
}

func TestManifestRefusesPathsThatLeaveTheBundle(t *testing.T) {
	const sum = `"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"`
	manifest := func(files string) []byte {
		return []byte(`{"kind":"tenon bundle","version":1,"name":"a/b","platform":"linux/test","code":"1","files":[` + files + `]}`)
	}
	file := func(path string) string { return fmt.Sprintf(`{"path":%q,"size":0,%s}`, path, sum) }
	if _, err := parse(manifest(file("a") + "," + file("b/c") + "," + file("b/d.e"))); err != nil {
		t.Errorf("a sound manifest: %v", err)
	}
	for _, files := range []string{
		file("../a"), file("/etc/passwd"), file("a/../../b"), file("a//b"), file("./a"), file("a/"), file(""), file("."), file(".."), file(`a\b`), file("c:x"),
		file("a\n"), file("manifest.json"), file("manifest.sig"), file("b") + "," + file("a"), file("a") + "," + file("a"), file("a") + "," + file("a-") + "," + file("a/b"),
		`{"path":"a","size":-1,` + sum + `}`, `{"path":"a","size":0,"sha256":"E3"}`, `{"path":"a","size":0}`,
	} {
		if _, err := parse(manifest(files)); err == nil {
			t.Errorf("accepted: %s", files)
		}
	}
	for _, b := range []string{`{}`, `{"kind":"tenon channel","version":1}`, `{"kind":"tenon bundle","version":2}`, string(manifest("")) + "x", strings.Replace(string(manifest("")), `"code"`, `"other"`, 1)} {
		if _, err := parse([]byte(b)); err == nil {
			t.Errorf("accepted: %s", b)
		}
	}
}

func TestBundlesOfEqualFilesAreEqual(t *testing.T) {
	key := newKey(t)
	_, a := made(t, key, "one")
	_, b := made(t, key, "one")
	_, c := made(t, key, "two")
	if a != b || a == c {
		t.Errorf("digests %s, %s and %s", a, b, c)
	}
}

func TestVerifyFindsWhatWasChanged(t *testing.T) {
	key, other := newKey(t), newKey(t)
	change := func(name, content string) func(dir string) {
		return func(dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name   string
		change func(dir string)
		key    Public
		want   string
	}{
		{"nothing", func(string) {}, key.Public(), ""},
		{"without a key", func(string) {}, nil, ""},
		{"another key", func(string) {}, other.Public(), "it is not signed with the key"},
		{"a byte", change("service.json", "[]"), nil, "service.json has another digest"},
		{"a size", change("service.json", "{ }"), nil, "service.json has 3 bytes, not 2"},
		{"a new file", change("more", ""), nil, "a file that its manifest does not list: more"},
		{"a lost file", func(dir string) { _ = os.Remove(filepath.Join(dir, "empty")) }, nil, "the bundle is damaged"},
		{"no signature", func(dir string) { _ = os.Remove(filepath.Join(dir, SignatureFile)) }, key.Public(), "is not signed"},
		{"the signature", change(SignatureFile, "AAAA"), key.Public(), "it is not signed with the key"},
		{"a link", func(dir string) {
			_ = os.Remove(filepath.Join(dir, "empty"))
			_ = os.Symlink("/dev/null", filepath.Join(dir, "empty"))
		}, nil, "the bundle is damaged"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, _ := made(t, key, "one")
			tt.change(dir)
			_, err := Verified(dir, tt.key)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// A machine pulls from a channel.
type machine struct {
	*testing.T
	Options
	tried, activated []string // digests
	prove, activate  error
}

func newMachine(t *testing.T, channel string, key Public) *machine {
	m := &machine{T: t, Options: Options{Channel: channel, Key: key, Dir: t.TempDir(), Platform: "linux/test", Most: 1 << 20, Log: func(string) {}}}
	m.Prove = func(_ context.Context, dir string) error {
		m.tried = append(m.tried, filepath.Base(dir))
		return m.prove
	}
	m.Activate = func(_ context.Context, dir, digest string) error {
		to, err := os.Readlink(dir)
		if err != nil || filepath.Base(to) != digest {
			t.Errorf("the link names %s, not %s: %v", to, digest, err)
		}
		m.activated = append(m.activated, digest)
		if len(m.activated) > 0 && m.activate != nil {
			err := m.activate
			m.activate = nil // the one before works
			return err
		}
		return nil
	}
	return m
}

// pulls pulls, and checks which bundle is current then.
func (m *machine) pulls(digest, failure string) *Pulled {
	m.Helper()
	p, err := Pull(context.Background(), m.Options)
	if failure == "" && err != nil || failure != "" && (err == nil || !strings.Contains(err.Error(), failure)) {
		m.Fatalf("%v, want %q", err, failure)
	}
	to, _ := os.Readlink(filepath.Join(m.Dir, Current))
	if digest == "" && to != "" || digest != "" && filepath.Base(to) != digest {
		m.Fatalf("%q is current, want %q", to, digest)
	}
	if digest != "" {
		if _, err := Verified(filepath.Join(m.Dir, Current), m.Key); err != nil {
			m.Errorf("what is current: %v", err)
		}
	}
	return p
}

func publish(t *testing.T, dir, channel string, key Private) int64 {
	t.Helper()
	n, err := Publish(context.Background(), dir, channel, key)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPullFollowsAChannel(t *testing.T) {
	key, channel := newKey(t), t.TempDir()
	m := newMachine(t, channel, key.Public())
	m.pulls("", "the channel has no bundle for linux/test")
	dir, one := made(t, key, "one")
	if n := publish(t, dir, channel, key); n != 1 {
		t.Errorf("number %d", n)
	}
	if p := m.pulls(one, ""); !p.Changed || p.Number != 1 {
		t.Errorf("%+v", p)
	}
	if n := publish(t, dir, channel, key); n != 1 {
		t.Errorf("published again, it has number %d", n)
	}
	if p := m.pulls(one, ""); p.Changed || len(m.tried) != 1 {
		t.Errorf("%+v after %d tries", p, len(m.tried))
	}
	second, two := made(t, key, "two")
	publish(t, second, channel, key)
	m.pulls(two, "")
	third, three := made(t, key, "three")
	publish(t, third, channel, key)
	m.pulls(three, "")
	left, err := os.ReadDir(filepath.Join(m.Dir, versions))
	if err != nil || len(left) != 2 {
		t.Errorf("%v, %v: want the current one and the one before", left, err)
	}
	// An older one comes back by a new publication.
	if n := publish(t, dir, channel, key); n != 4 {
		t.Errorf("number %d", n)
	}
	m.pulls(one, "")
}

func TestPullRefusesWhatIsOldOrOfOthers(t *testing.T) {
	key, other, channel := newKey(t), newKey(t), t.TempDir()
	m := newMachine(t, channel, key.Public())
	latest := filepath.Join(channel, filepath.FromSlash(latestPath("linux/test")))
	dir, one := made(t, key, "one")
	publish(t, dir, channel, key)
	old, err := os.ReadFile(latest)
	if err != nil {
		t.Fatal(err)
	}
	second, two := made(t, key, "two")
	publish(t, second, channel, key)
	m.pulls(two, "")
	put := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(latest, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	now, err := os.ReadFile(latest)
	if err != nil {
		t.Fatal(err)
	}
	put(old)
	m.pulls(two, "the channel names bundle 1, but it has named bundle 2 before")
	put([]byte(strings.Replace(string(now), two, one, 1)))
	m.pulls(two, "it is not signed with the key")
	put([]byte(strings.Repeat(" ", mostLatest+1)))
	m.pulls(two, "is larger than")
	put([]byte("{"))
	m.pulls(two, "the newest bundle of the channel")
	put(now)
	if _, err := Publish(context.Background(), second, channel, other); err == nil {
		t.Error("another key publishes what it has not signed")
	}
	stranger := newMachine(t, channel, other.Public())
	stranger.pulls("", "it is not signed with the key")
	elsewhere := t.TempDir()
	their, _ := made(t, key, "theirs")
	if _, err := (Manifest{Name: "shop/other", Platform: "linux/test", Code: "1"}.Write(their)); err != nil {
		t.Fatal(err)
	}
	if err := Sign(their, key); err != nil {
		t.Fatal(err)
	}
	if _, err := Publish(context.Background(), their, channel, key); err == nil || !strings.Contains(err.Error(), "has bundles of shop/api, not of shop/other") {
		t.Errorf("%v", err)
	}
	publish(t, their, elsewhere, key)
	m.Channel = elsewhere
	m.pulls(two, "the channel has bundles of shop/other")
}

func TestPullChecksEachFile(t *testing.T) {
	key, channel := newKey(t), t.TempDir()
	dir, _ := made(t, key, "one")
	publish(t, dir, channel, key)
	m := newMachine(t, channel, key.Public())
	m.Most = 10
	m.pulls("", "the limit is 10")
	m.Most = 1 << 20
	other, two := made(t, key, "two")
	publish(t, other, channel, key)
	file := filepath.Join(channel, "files", sum([]byte("two")))
	for _, content := range []string{"twa", "twoandmore"} {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if content == "twoandmore" {
			// What is behind the size in the manifest is never read.
			m.pulls(two, "")
			break
		}
		m.pulls("", "it has another digest than in the manifest")
	}
	if len(m.tried) != 1 {
		t.Errorf("tried %v", m.tried)
	}
}

func TestABundleThatFailsIsRejected(t *testing.T) {
	key, channel := newKey(t), t.TempDir()
	m := newMachine(t, channel, key.Public())
	dir, one := made(t, key, "one")
	publish(t, dir, channel, key)
	m.pulls(one, "")
	second, two := made(t, key, "two")
	publish(t, second, channel, key)
	m.prove = errors.New("182 of 182 rows differ")
	m.pulls(one, "bundle 2 is rejected: 182 of 182 rows differ")
	if len(m.activated) != 1 {
		t.Errorf("activated %v", m.activated)
	}
	m.prove = nil
	m.pulls(one, "bundle 2 was rejected before")
	m.Again = true
	m.pulls(two, "")
	m.Again = false
	// It passes its test, but does not become ready: the one before comes back, and is started.
	third, three := made(t, key, "three")
	publish(t, third, channel, key)
	m.activated, m.activate = nil, errors.New("it is not ready after 1m")
	m.pulls(two, "bundle 3 is rejected: it is not ready after 1m")
	if fmt.Sprint(m.activated) != fmt.Sprint([]string{three, two}) {
		t.Errorf("activated %v", m.activated)
	}
	m.pulls(two, "bundle 3 was rejected before")
}

// A pull that was killed after the switch, and a channel that names the bundle before again: its files stay,
// since it is the one to go back to.
func TestTheBundleBeforeKeepsItsFilesWhenItIsRejected(t *testing.T) {
	key, channel := newKey(t), t.TempDir()
	m := newMachine(t, channel, key.Public())
	dir, one := made(t, key, "one")
	publish(t, dir, channel, key)
	m.pulls(one, "")
	if err := os.Remove(filepath.Join(m.Dir, Current)); err != nil {
		t.Fatal(err)
	}
	m.activate = errors.New("systemctl is busy")
	m.pulls(one, "bundle 1 is rejected: systemctl is busy")
	if _, err := os.Stat(filepath.Join(m.Dir, Current, ManifestFile)); err != nil {
		t.Error(err)
	}
}

func TestAPullThatIsKilledGoesOn(t *testing.T) {
	key, channel := newKey(t), t.TempDir()
	m := newMachine(t, channel, key.Public())
	dir, one := made(t, key, "one")
	publish(t, dir, channel, key)
	m.pulls(one, "")
	second, two := made(t, key, "two")
	publish(t, second, channel, key)
	// Killed after the switch, before the service was ready.
	ctx, cancel := context.WithCancel(context.Background())
	activate := m.Activate
	m.Activate = func(_ context.Context, _, digest string) error {
		if digest == two {
			cancel()
			return ctx.Err()
		}
		return nil
	}
	if _, err := Pull(ctx, m.Options); err == nil {
		t.Fatal("no error")
	}
	m.Activate = activate
	m.pulls(two, "")
}

// A web server breaks connections and serves ranges: no byte comes twice.
func TestADownloadThatBreaksResumes(t *testing.T) {
	key, channel := newKey(t), t.TempDir()
	text := strings.Repeat("0123456789", 1000)
	dir, digest := made(t, key, text)
	publish(t, dir, channel, key)
	file, sent, asked := "/files/"+sum([]byte(text)), 0, []string{}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != file {
			http.FileServer(http.Dir(channel)).ServeHTTP(w, r)
			return
		}
		asked = append(asked, r.Header.Get("Range"))
		var offset int
		_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &offset)
		w.Header().Set("Content-Length", fmt.Sprint(len(text)-offset))
		if offset > 0 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", offset, len(text)-1, len(text)))
			w.WriteHeader(http.StatusPartialContent)
		}
		part := text[offset:min(offset+4000, len(text))]
		sent += len(part)
		_, _ = w.Write([]byte(part)) // then the connection ends before the announced length
	}))
	defer web.Close()
	m := newMachine(t, web.URL, key.Public())
	began := time.Now()
	m.pulls(digest, "")
	if sent != len(text) || fmt.Sprint(asked) != "[ bytes=4000- bytes=8000-]" {
		t.Errorf("%d of %d bytes sent, asked for %q in %s", sent, len(text), asked, time.Since(began))
	}
}

func TestWhatIsPublishedIsPlainJSON(t *testing.T) {
	key, channel := newKey(t), t.TempDir()
	dir, digest := made(t, key, "one")
	publish(t, dir, channel, key)
	b, err := os.ReadFile(filepath.Join(channel, "latest", "linux_test.json"))
	if err != nil {
		t.Fatal(err)
	}
	var s signed
	var l latest
	if err := errors.Join(json.Unmarshal(b, &s), json.Unmarshal([]byte(s.Document), &l)); err != nil || l.Manifest != digest {
		t.Errorf("%v: %s", err, b)
	}
	all, err := filepath.Glob(filepath.Join(channel, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		b, err := os.ReadFile(name)
		if err != nil || strings.Contains(string(b), "PRIVATE") {
			t.Errorf("%s: %v, or it has a private key", name, err)
		}
	}
}
