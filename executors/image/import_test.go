package image_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/tenon-ml/tenon/executors/image"
)

// dockerArchive returns an archive of an image as docker save writes it.
func dockerArchive(t testing.TB, img v1.Image) string {
	t.Helper()
	tag, err := name.NewTag("example.com/saved:1")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "saved.tar")
	if err := tarball.WriteToFile(file, tag, img); err != nil {
		t.Fatal(err)
	}
	return file
}

// ociArchive returns an archive of an OCI layout, which harm may have damaged.
func ociArchive(t testing.TB, harm func(dir string), images ...v1.Image) string {
	t.Helper()
	dir := t.TempDir()
	l, err := layout.Write(dir, mutate.IndexMediaType(emptyIndex(t), types.OCIImageIndex))
	if err != nil {
		t.Fatal(err)
	}
	for _, img := range images {
		if err := l.AppendImage(img); err != nil {
			t.Fatal(err)
		}
	}
	if harm != nil {
		harm(dir)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return save(t, "oci.tar", b.Bytes())
}

func emptyIndex(t testing.TB) v1.ImageIndex {
	t.Helper()
	i, err := random.Index(0, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func randomImage(t testing.TB) v1.Image {
	t.Helper()
	img, err := random.Image(300, 2)
	if err != nil {
		t.Fatal(err)
	}
	img, err = mutate.Config(img, v1.Config{Env: []string{"PATH=/bin"}, WorkingDir: "/srv"})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func zipped(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return save(t, filepath.Base(file)+".gz", out.Bytes())
}

func config(t *testing.T, img v1.Image) *v1.ConfigFile {
	t.Helper()
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestModulesThatCanBeImported(t *testing.T) {
	img := randomImage(t)
	root := archive(t, "root.tar", file{"usr/", ""}, file{"usr/bin/", ""}, file{"usr/bin/env", "x"})
	for what, c := range map[string]struct {
		file string
		same func(*testing.T, v1.Image)
	}{
		"a root filesystem": {root, func(t *testing.T, got v1.Image) {
			if c := config(t, got); c.OS != "linux" || c.Config.Env == nil {
				t.Errorf("the config is %+v", c)
			}
		}},
		"docker save": {dockerArchive(t, img), func(t *testing.T, got v1.Image) {
			if diff := cmp.Diff(config(t, img).RootFS, config(t, got).RootFS); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(config(t, img).Config, config(t, got).Config); diff != "" {
				t.Error(diff)
			}
			wantTypes(t, got, types.OCIManifestSchema1, types.OCIConfigJSON, types.OCILayerZStd, types.OCILayerZStd)
		}},
		"an OCI layout": {ociArchive(t, nil, img), func(t *testing.T, got v1.Image) {
			if digest(t, got) != digest(t, img) {
				t.Errorf("it is %s, not %s", digest(t, got), digest(t, img))
			}
		}},
	} {
		t.Run(what, func(t *testing.T) {
			s := image.New(image.Options{Dir: t.TempDir()})
			var all []string
			for _, f := range []string{c.file, zipped(t, c.file)} {
				pinned, err := s.Import(t.Context(), f, "mine/"+strings.ReplaceAll(filepath.Base(f), ".", "-")+":1")
				if err != nil {
					t.Fatal(err)
				}
				got, err := s.Open(t.Context(), pinned)
				if err != nil {
					t.Fatal(err)
				}
				valid(t, got)
				c.same(t, got)
				all = append(all, digest(t, got))
			}
			if all[0] != all[1] {
				t.Errorf("compressed it is %s, else %s", all[1], all[0])
			}
		})
	}
}

func TestLastImportOfANameCounts(t *testing.T) {
	dir := t.TempDir()
	s := image.New(image.Options{Dir: dir})
	first := base(t, s)
	second := base(t, s, file{"./etc/motd", "hello"})
	for ref, want := range map[string]string{baseName: second, first: first} {
		if got, err := s.Pin(t.Context(), ref, false); err != nil || got != want {
			t.Errorf("%s stands for %s, %v; want %s", ref, got, err, want)
		}
	}
	if _, err := s.Open(t.Context(), first); err != nil {
		t.Errorf("the first is gone: %v", err)
	}
	entries, err := s.List()
	if err != nil || len(entries) != 1 || entries[0].Name != baseName || entries[0].Layers != 1 || entries[0].Size == 0 {
		t.Errorf("it lists %+v, %v", entries, err)
	}
	// Any other tool can read it.
	l, err := layout.FromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	img, err := l.Image(entries[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	valid(t, img)
}

func TestModulesThatCannotBeImported(t *testing.T) {
	img := randomImage(t)
	blobs := func(dir string) []string {
		all, err := filepath.Glob(filepath.Join(dir, "blobs", "sha256", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	outside := func(h tar.Header) string {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return save(t, "root.tar", b.Bytes())
	}
	for what, c := range map[string]struct {
		file, name string
		want       []string
	}{
		"no file":                       {"/no/such/file", "a:1", []string{"import /no/such/file", "no such file"}},
		"no archive":                    {save(t, "a", []byte(strings.Repeat("hello", 300))), "a:1", []string{"tar file"}},
		"nothing known":                 {archive(t, "a.tar", file{"hello", "x"}), "a:1", []string{"neither an image nor a root filesystem"}},
		"a member above":                {outside(tar.Header{Name: "usr/../../etc/x"}), "a:1", []string{`"usr/../../etc/x" is outside`, "tar -C ROOT"}},
		"an absolute member":            {outside(tar.Header{Name: "/usr/x"}), "a:1", []string{`"/usr/x" is outside`}},
		"a link to a file outside":      {outside(tar.Header{Name: "usr/x", Typeflag: tar.TypeLink, Linkname: "../etc/passwd"}), "a:1", []string{`"usr/x" is outside`}},
		"a bad name":                    {archive(t, "a.tar", file{"usr/x", "x"}), "A B", []string{`"A B" is not an image name`}},
		"a digest as a name":            {archive(t, "a.tar", file{"usr/x", "x"}), "a@sha256:" + strings.Repeat("0", 64), []string{"with a tag"}},
		"an image that names no config": {ociArchive(t, func(dir string) { onlyManifest(t, dir, `{"schemaVersion": 2, "layers": []}`) }), "a:1", []string{"docker.io/library/a:1 is not an image"}},
		"an image that names no layer": {ociArchive(t, func(dir string) {
			onlyManifest(t, dir, `{"schemaVersion": 2, "config": {"digest": "sha256:`+strings.Repeat("0", 64)+`"}, "layers": [{}]}`)
		}), "a:1", []string{"docker.io/library/a:1 is not an image"}},
		"what is not an image": {ociArchive(t, func(dir string) { onlyManifest(t, dir, `[]`) }), "a:1", []string{"docker.io/library/a:1 is not an image"}},
		"two images":           {ociArchive(t, nil, img, randomImage(t)), "a:1", []string{"2 images"}},
		"a damaged blob": {ociArchive(t, func(dir string) {
			if err := os.WriteFile(blobs(dir)[0], []byte("x"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, img), "a:1", []string{"it is damaged: its blob sha256:"}},
		"a blob that does not exist": {ociArchive(t, func(dir string) {
			layer, err := img.Layers()
			if err != nil {
				t.Fatal(err)
			}
			h, err := layer[0].Digest()
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(dir, "blobs", "sha256", h.Hex)); err != nil {
				t.Fatal(err)
			}
		}, img), "a:1", []string{"it lacks sha256:"}},
	} {
		t.Run(what, func(t *testing.T) {
			s := image.New(image.Options{Dir: t.TempDir()})
			_, err := s.Import(t.Context(), c.file, c.name)
			wantError(t, err, c.want...)
			if entries, err := s.List(); err != nil || len(entries) > 0 {
				t.Errorf("it lists %v, %v", entries, err)
			}
		})
	}
}

// A base with docker's media types becomes an image with OCI's.
func TestABaseOfDockersTypes(t *testing.T) {
	s := image.New(image.Options{Dir: t.TempDir()})
	img := randomImage(t)
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if m.MediaType != types.DockerManifestSchema2 {
		t.Fatalf("the image to begin with is of type %s", m.MediaType)
	}
	pinned, err := s.Import(t.Context(), ociArchive(t, nil, img), "docker/made:1")
	if err != nil {
		t.Fatal(err)
	}
	got := build(t, s, image.Recipe{Base: pinned, Tenon: save(t, "tenon", []byte("x"))})
	wantTypes(t, got, types.OCIManifestSchema1, types.OCIConfigJSON, types.OCILayer, types.OCILayer, types.OCILayerZStd)
	c := config(t, got)
	if c.Config.WorkingDir != "/srv" || len(c.History) != 3 || c.Created.Year() != 1980 {
		t.Errorf("the config is %+v", c)
	}
}

func TestAnIndexGivesTheImageOfThisMachine(t *testing.T) {
	img := randomImage(t)
	s := image.New(image.Options{Dir: t.TempDir()})
	for arch, want := range map[string]string{"s390x": "only for linux/s390x", "": ""} {
		file := ociArchive(t, func(dir string) { wrapIndex(t, dir, arch) }, img)
		pinned, err := s.Import(t.Context(), file, "an/index:1")
		if want != "" {
			wantError(t, err, "an/index:1 has no image for linux/", want)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Open(t.Context(), pinned)
		if err != nil || digest(t, got) != digest(t, img) {
			t.Errorf("it is %v, %v", got, err)
		}
	}
}

// onlyManifest makes a text the only manifest of a layout.
func onlyManifest(t *testing.T, dir, text string) {
	t.Helper()
	h, n, err := v1.SHA256(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	index, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, Manifests: []v1.Descriptor{{MediaType: types.OCIManifestSchema1, Digest: h, Size: n}}})
	if err != nil {
		t.Fatal(err)
	}
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := errors.Join(os.MkdirAll(blobs, 0o755), os.WriteFile(filepath.Join(blobs, h.Hex), []byte(text), 0o644), os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644)); err != nil {
		t.Fatal(err)
	}
}

// wrapIndex puts the index of a layout into another index.
func wrapIndex(t *testing.T, dir, arch string) {
	t.Helper()
	name := filepath.Join(dir, "index.json")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var inner v1.IndexManifest
	if err := json.Unmarshal(b, &inner); err != nil {
		t.Fatal(err)
	}
	if arch != "" {
		inner.Manifests[0].Platform = &v1.Platform{OS: "linux", Architecture: arch}
	}
	if b, err = json.Marshal(inner); err != nil {
		t.Fatal(err)
	}
	h, n, err := v1.SHA256(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	outer, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, Manifests: []v1.Descriptor{{MediaType: types.OCIImageIndex, Digest: h, Size: n}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{filepath.Join(dir, "blobs", "sha256", h.Hex): b, name: outer} {
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
