package image_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/internal/test/registrytest"
)

// A hub is a registry with an image, and what a store needs to reach it.
type hub struct {
	*registrytest.Registry
	pinned string // of the image
	img    v1.Image
	hosts  string
}

const user, password = "ann", "s3cret-w0rd"

func credentials(user, secret string) func(string) (string, string, error) {
	return func(string) (string, string, error) { return user, secret, nil }
}

func newHub(t *testing.T, o registrytest.Options) *hub {
	t.Helper()
	h := &hub{Registry: registrytest.Start(t, o), hosts: t.TempDir()}
	if o.TLS {
		h.trust(t, true)
	}
	s := h.store(t, credentials(o.User, o.Password))
	pinned, err := s.Import(t.Context(), archive(t, "root.tar", file{"usr/", ""}, file{"usr/bin/", ""}, file{"usr/bin/python3.11", strings.Repeat("x", 1000)}), "base:1")
	if err != nil {
		t.Fatal(err)
	}
	h.img = build(t, s, image.Recipe{Base: pinned, Tenon: save(t, "tenon", []byte("a program"))})
	if h.pinned, err = s.Push(t.Context(), h.img, h.ref("team/app:1")); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *hub) ref(name string) string { return h.Host + "/" + name }

// trust writes a hosts.toml that requires HTTPS and, if trusted, names the certificate
// of the registry's authority.
func (h *hub) trust(t *testing.T, trusted bool) {
	t.Helper()
	text := fmt.Sprintf("server = \"https://%[1]s\"\n[host.\"https://%[1]s\"]\n", h.Host)
	if trusted {
		text += "ca = \"ca.crt\"\n"
	}
	h.write(t, h.Host, "hosts.toml", text)
	h.write(t, h.Host, "ca.crt", string(h.CA))
}

func (h *hub) write(t *testing.T, host, name, text string) {
	t.Helper()
	dir := filepath.Join(h.hosts, host)
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// store returns an empty store.
func (h *hub) store(t *testing.T, c func(string) (string, string, error)) *image.Store {
	t.Helper()
	return image.New(image.Options{Dir: t.TempDir(), Hosts: h.hosts, Credentials: c})
}

func TestPushedImageCanBePinnedAndOpened(t *testing.T) {
	for what, o := range map[string]registrytest.Options{
		"plain": {}, "with a password": {User: user, Password: password}, "with TLS and a password": {User: user, Password: password, TLS: true},
	} {
		t.Run(what, func(t *testing.T) {
			h := newHub(t, o)
			s := h.store(t, credentials(o.User, o.Password))
			pinned, err := s.Pin(t.Context(), h.ref("team/app:1"), false)
			if err != nil {
				t.Fatal(err)
			}
			if want := h.ref("team/app:1") + "@" + digest(t, h.img); pinned != want || h.pinned != want {
				t.Errorf("pinned %s, pushed %s, want %s", pinned, h.pinned, want)
			}
			img, err := s.Open(t.Context(), pinned)
			if err != nil {
				t.Fatal(err)
			}
			if digest(t, img) != digest(t, h.img) {
				t.Errorf("it is %s", digest(t, img))
			}
			valid(t, img)
			// A second push sends nothing; under another tag it sends only the
			// manifest.
			for _, tag := range []string{"1", "2"} {
				if again, err := s.Push(t.Context(), img, h.ref("team/app:"+tag)); err != nil || again != h.ref("team/app:"+tag)+"@"+digest(t, img) {
					t.Errorf("it is pushed as %s, %v", again, err)
				}
			}
			// From here on the registry is not needed.
			h.Stop()
			if img, err = s.Open(t.Context(), pinned); err != nil {
				t.Fatal(err)
			}
			valid(t, img)
			if _, err := s.Pin(t.Context(), pinned, false); err != nil {
				t.Errorf("a digest is not its own: %v", err)
			}
		})
	}
}

func TestAnImageIsPublishedOnce(t *testing.T) {
	for what, o := range map[string]registrytest.Options{"plain": {}, "with TLS and a password": {User: user, Password: password, TLS: true}} {
		t.Run(what, func(t *testing.T) {
			h := newHub(t, o)
			dir := t.TempDir()
			s := image.New(image.Options{Dir: dir, Hosts: h.hosts, Credentials: credentials(o.User, o.Password)})
			img := build(t, s, image.Recipe{Base: h.pinned, Pod: save(t, "tenon-pod", []byte("of a pod"))})
			want := h.ref("team/units") + "@" + digest(t, img)
			for range 2 {
				if got, err := s.Publish(t.Context(), img, h.ref("team/units")); err != nil || got != want {
					t.Fatalf("it is published as %s, %v, want %s", got, err, want)
				}
				// The registry has all of it: a second push reads nothing here.
				if err := os.RemoveAll(filepath.Join(dir, "blobs")); err != nil {
					t.Fatal(err)
				}
			}
			fetched, err := h.store(t, credentials(o.User, o.Password)).Open(t.Context(), want)
			if err != nil {
				t.Fatal(err)
			}
			valid(t, fetched)
		})
	}
}

// A mirror may have what its host does not have.
func TestAnImageIsPublishedAtItsHostAndNotAtAMirror(t *testing.T) {
	mirror, h := newHub(t, registrytest.Options{}), newHub(t, registrytest.Options{})
	h.write(t, h.Host, "hosts.toml", fmt.Sprintf("server = \"http://%s\"\n[host.\"http://%s\"]\ncapabilities = [\"pull\", \"resolve\"]\n", h.Host, mirror.Host))
	s := h.store(t, credentials("", ""))
	img := randomImage(t)
	if _, err := mirror.store(t, credentials("", "")).Publish(t.Context(), img, mirror.ref("team/units")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Publish(t.Context(), img, h.ref("team/units")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(h.Blob(digest(t, img))); err != nil {
		t.Errorf("its host does not have it: %v", err)
	}
}

func TestPublishErrors(t *testing.T) {
	h := newHub(t, registrytest.Options{User: user, Password: password})
	for repository, want := range map[string]string{
		h.ref("team/units:1"): "is not a repository: remove the part after the last colon", h.pinned: "is not a repository",
		"Not A Name": "is not an image name", h.ref("team/units"): h.Host + " rejects the stored credentials",
	} {
		_, err := h.store(t, credentials(user, "wr0ng")).Publish(t.Context(), h.img, repository)
		wantError(t, err, want)
	}
}

// A manifest need not contain its media type. The image of a unit without layers is its
// base, unchanged.
func TestABaseThatDoesNotSayItsTypeIsPushed(t *testing.T) {
	h := newHub(t, registrytest.Options{})
	s := h.store(t, credentials("", ""))
	img := randomImage(t)
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	m = m.DeepCopy()
	m.MediaType = ""
	bare, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	base, err := s.Import(t.Context(), ociArchive(t, func(dir string) { onlyManifest(t, dir, string(bare)) }, img), "bare:1")
	if err != nil {
		t.Fatal(err)
	}
	built := build(t, s, image.Recipe{Base: base})
	pinned, err := s.Push(t.Context(), built, h.ref("team/bare:1"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := h.store(t, credentials("", "")).Pin(t.Context(), h.ref("team/bare:1"), false); err != nil || got != pinned {
		t.Errorf("it is pinned as %s, %v, and was pushed as %s", got, err, pinned)
	}
}

func TestLayersAreFetchedWhenTheyAreRead(t *testing.T) {
	h := newHub(t, registrytest.Options{})
	s := h.store(t, credentials("", ""))
	img, err := s.Open(t.Context(), h.pinned)
	if err != nil {
		t.Fatal(err)
	}
	h.Stop()
	all, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := all[0].DiffID(); err != nil {
		t.Errorf("what the manifest says is not known: %v", err)
	}
	_, err = all[0].Compressed()
	wantError(t, err, h.pinned, "cannot reach "+h.Host, "connection refused", "hosts.toml")
}

func TestErrorsOfRegistriesSayWhatToDo(t *testing.T) {
	plain := newHub(t, registrytest.Options{})
	closed := newHub(t, registrytest.Options{User: user, Password: password})
	secure := newHub(t, registrytest.Options{TLS: true})
	secure.trust(t, false)
	broken := &hub{Registry: plain.Registry, hosts: t.TempDir()}
	broken.write(t, broken.Host, "hosts.toml", "server = ")
	noTLS := &hub{hosts: t.TempDir()} // not loopback by its name, for which the client tries HTTP too
	anywhere := strings.Replace(plain.Host, "127.0.0.1", "0.0.0.0", 1)
	noTLS.write(t, "registry.invalid", "hosts.toml", fmt.Sprintf("[host.%q]", "https://"+anywhere))
	gone := newHub(t, registrytest.Options{})
	gone.Stop()
	for what, c := range map[string]struct {
		hub   *hub
		ref   string
		creds func(string) (string, string, error)
		want  []string
	}{
		"an unknown name":   {plain, plain.ref("team/ap:1"), nil, []string{"image " + plain.ref("team/ap:1") + " does not exist", "tenon image import"}},
		"an unknown tag":    {plain, plain.ref("team/app:3"), nil, []string{"image " + plain.ref("team/app:3") + " does not exist"}},
		"an unknown digest": {plain, plain.ref("team/app@sha256:" + strings.Repeat("0", 64)), nil, []string{"image " + plain.ref("team/app@sha256:000"), "--pull"}},
		"no name":           {plain, "Not A Name", nil, []string{`"Not A Name" is not an image name`}},
		"no credentials":    {closed, closed.ref("team/app:1"), credentials("", ""), []string{closed.Host + " requires authentication", "docker login " + closed.Host}},
		"wrong credentials": {closed, closed.ref("team/app:1"), credentials(user, "wr0ng"), []string{closed.Host + " rejects the stored credentials", "docker login " + closed.Host}},
		"no way to credentials": {closed, closed.ref("team/app:1"), func(string) (string, string, error) { return "", "", errors.New("no helper") },
			[]string{"find credentials for " + closed.Host + ": no helper"}},
		"no credentials, and why": {closed, closed.ref("team/app:1"), func(string) (string, string, error) {
			return "", "", &image.NoCredentialsError{Err: errors.New("the token is refused")}
		}, []string{closed.Host + " requires authentication", "there are no credentials for it: the token is refused; or log in with docker login"}},
		"an unknown authority": {secure, secure.ref("team/app:1"), nil, []string{"by an unknown authority", filepath.Join(secure.hosts, secure.Host, "ca.crt")}},
		"a broken hosts.toml":  {broken, broken.ref("team/app:1"), nil, []string{"cannot read the settings of " + broken.Host, filepath.Join(broken.hosts, broken.Host)}},
		"no TLS": {noTLS, "registry.invalid/team/app:1", nil, []string{
			anywhere + " uses HTTP without TLS", `[host."http://` + anywhere + `"]`, filepath.Join(noTLS.hosts, "registry.invalid", "hosts.toml")}},
		"nobody there": {gone, gone.ref("team/app:1"), nil, []string{"cannot reach " + gone.Host, "connection refused", "hosts.toml"}},
		"a local name": {plain, "localhost/team/app:1", nil, []string{"image localhost/team/app:1 was not imported", "tenon image import"}},
		"no such host": {plain, "registry.invalid/team/app:1", nil, []string{"cannot reach registry.invalid", filepath.Join(plain.hosts, "registry.invalid", "hosts.toml")}},
	} {
		t.Run(what, func(t *testing.T) {
			if c.creds == nil {
				c.creds = credentials("", "")
			}
			s := c.hub.store(t, c.creds)
			pinned, err := s.Pin(t.Context(), c.ref, false)
			if err == nil {
				_, err = s.Open(t.Context(), pinned)
			}
			wantError(t, err, c.want...)
			if err != nil && strings.Contains(err.Error(), "wr0ng") {
				t.Errorf("the error contains the password: %v", err)
			}
		})
	}
}

func TestPushNeedsCredentials(t *testing.T) {
	h := newHub(t, registrytest.Options{User: user, Password: password})
	s := h.store(t, credentials(user, "wr0ng"))
	_, err := s.Push(t.Context(), h.img, h.ref("team/app:2"))
	wantError(t, err, h.Host+" rejects the stored credentials", "docker login "+h.Host)
	_, err = s.Push(t.Context(), h.img, h.pinned)
	wantError(t, err, "with a tag, not with a digest")
}

func TestDockersCredentialsAreTheDefault(t *testing.T) {
	h := newHub(t, registrytest.Options{User: user, Password: password})
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	auths := fmt.Sprintf(`{"auths": {%q: {"username": %q, "password": %q}}}`, h.Host, user, password)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(auths), 0o600); err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir()
	s := image.New(image.Options{Dir: cache, Hosts: h.hosts})
	img, err := s.Open(t.Context(), h.pinned)
	if err != nil {
		t.Fatal(err)
	}
	valid(t, img)
	// The store keeps none of the credentials.
	err = filepath.WalkDir(cache, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		if strings.Contains(string(b), password) {
			t.Errorf("%s holds the password", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestMirrorReplacesItsHost(t *testing.T) {
	h := newHub(t, registrytest.Options{})
	h.write(t, "registry.invalid", "hosts.toml", fmt.Sprintf("server = \"https://registry.invalid\"\n[host.\"http://%s\"]\ncapabilities = [\"pull\", \"resolve\"]\n", h.Host))
	s := h.store(t, credentials("", ""))
	pinned, err := s.Pin(t.Context(), "registry.invalid/team/app:1", false)
	if err != nil {
		t.Fatal(err)
	}
	img, err := s.Open(t.Context(), pinned)
	if err != nil {
		t.Fatal(err)
	}
	valid(t, img)
	if want := "registry.invalid/team/app:1@" + digest(t, h.img); pinned != want {
		t.Errorf("it is %s, want %s", pinned, want)
	}
}

// The answer of a registry is used until it is asked again.
func TestARegistryIsAskedOnce(t *testing.T) {
	h := newHub(t, registrytest.Options{})
	s := h.store(t, credentials("", ""))
	ref := h.ref("team/app:1")
	pins := func(again bool, want string) {
		t.Helper()
		if pinned, err := s.Pin(t.Context(), ref, again); err != nil || pinned != want {
			t.Errorf("it is pinned as %s, %v, want %s", pinned, err, want)
		}
	}
	lists := func(resolved ...string) {
		t.Helper()
		entries, err := s.List()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			if !e.Resolved.IsZero() {
				got = append(got, e.Name)
			}
		}
		if !slices.Equal(got, resolved) {
			t.Errorf("resolved are %v, want %v", got, resolved)
		}
	}
	pins(false, h.pinned)
	other := h.store(t, credentials("", ""))
	moved, err := other.Push(t.Context(), randomImage(t), ref)
	if err != nil {
		t.Fatal(err)
	}
	pins(false, h.pinned)
	lists(h.pinned)
	if _, err := s.Open(t.Context(), moved); err != nil { // by its digest, which does not resolve the name
		t.Fatal(err)
	}
	pins(false, h.pinned)
	pins(true, moved)
	pins(false, moved)
	lists(moved)
	// It resolves to an earlier image that is already stored.
	if _, err := other.Push(t.Context(), h.img, ref); err != nil {
		t.Fatal(err)
	}
	pins(true, h.pinned)
	lists(h.pinned)

	h.Stop()
	pins(false, h.pinned)
	_, err = s.Pin(t.Context(), ref, true)
	wantError(t, err, "cannot reach "+h.Host)
	// An image imported under the name comes first, and no registry is asked.
	imported, err := s.Import(t.Context(), archive(t, "root.tar", file{"usr/", ""}), ref)
	if err != nil {
		t.Fatal(err)
	}
	pins(false, imported)
	pins(true, imported)
}

// An index is pinned itself, so that a pin is valid on every machine.
func TestAnIndexAtARegistry(t *testing.T) {
	h := newHub(t, registrytest.Options{})
	other := h.store(t, credentials("", ""))
	if _, err := other.Push(t.Context(), randomImage(t), h.ref("team/app:other")); err != nil {
		t.Fatal(err)
	}
	entry := func(tag, arch string) v1.Descriptor {
		pinned, err := other.Pin(t.Context(), h.ref("team/app:"+tag), false)
		if err != nil {
			t.Fatal(err)
		}
		img, err := other.Open(t.Context(), pinned)
		if err != nil {
			t.Fatal(err)
		}
		d, err := partial.Descriptor(img)
		if err != nil {
			t.Fatal(err)
		}
		d.Platform = &v1.Platform{OS: "linux", Architecture: arch}
		return *d
	}
	index, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.DockerManifestList, Manifests: []v1.Descriptor{entry("other", "s390x"), entry("1", runtime.GOARCH)}})
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+h.Host+"/v2/team/app/manifests/both", bytes.NewReader(index))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", string(types.DockerManifestList))
	answer, err := http.DefaultClient.Do(request)
	if err != nil || answer.StatusCode != http.StatusCreated {
		t.Fatalf("the index is not taken: %v, %v", answer, err)
	}
	_ = answer.Body.Close()

	s := h.store(t, credentials("", ""))
	pinned, err := s.Pin(t.Context(), h.ref("team/app:both"), false)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%s@%s", h.ref("team/app:both"), ir.Sum(index)); pinned != want {
		t.Errorf("it is pinned as %s, want %s", pinned, want)
	}
	for range 2 { // the second time from the store
		img, err := s.Open(t.Context(), pinned)
		if err != nil {
			t.Fatal(err)
		}
		if digest(t, img) != digest(t, h.img) {
			t.Errorf("it is %s, want %s", digest(t, img), digest(t, h.img))
		}
	}
	entries, err := s.List()
	if err != nil || len(entries) != 1 || entries[0].Name != pinned {
		t.Errorf("it lists %v, %v", entries, err)
	}
}
