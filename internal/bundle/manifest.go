package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/internal/files"
)

// Names of files in a bundle.
const (
	Program       = "tenon-serve"
	Script        = "serve"
	Service       = "service.json"
	Selftest      = "selftest.json"
	ManifestFile  = "manifest.json"
	SignatureFile = "manifest.sig"
)

// kind distinguishes manifests from other documents that the same key signs.
const kind = "tenon bundle"

// Version is that of the format.
const Version = 1

// A Manifest lists the files of a bundle.
type Manifest struct {
	Kind     string `json:"kind"`
	Version  int    `json:"version"`
	Name     string `json:"name"`     // of the service: "churn/api"
	Platform string `json:"platform"` // "linux/arm64"
	Code     string `json:"code"`     // the version of the program
	Files    []File `json:"files"`    // sorted by path
}

// A File of a bundle.
type File struct {
	Path    string `json:"path"` // with slashes
	Size    int64  `json:"size"`
	SHA256  string `json:"sha256"`
	Program bool   `json:"program,omitempty"` // it can be executed
}

// Limits of what is read from others.
const (
	mostFiles    = 4096
	mostManifest = 4 << 20
)

// Write writes the manifest of the files in a folder, and returns the digest of the bundle.
// The files of the manifest are replaced.
func (m Manifest) Write(dir string) (digest string, err error) {
	m.Kind, m.Version, m.Files = kind, Version, nil
	err = files.Each(os.DirFS(dir), func(name string, d fs.DirEntry) error {
		if name == ManifestFile || name == SignatureFile {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		f := File{Path: name, Size: info.Size(), Program: info.Mode()&0o100 != 0}
		f.SHA256, err = files.SHA256(filepath.Join(dir, filepath.FromSlash(name)))
		m.Files = append(m.Files, f)
		return err
	})
	if err != nil {
		return "", err
	}
	slices.SortFunc(m.Files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	if err := m.check(); err != nil {
		return "", err
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return "", err
	}
	b = append(b, '\n')
	return sum(b), os.WriteFile(filepath.Join(dir, ManifestFile), b, 0o644)
}

// Read reads the manifest of a bundle. key, if it is not nil, has to have signed it. The files
// are not compared with it, see [Manifest.Compare].
func Read(dir string, key Public) (m *Manifest, digest string, err error) {
	b, err := readAtMost(filepath.Join(dir, ManifestFile), mostManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("%s is no bundle: it has no %s", dir, ManifestFile)
	}
	if err != nil {
		return nil, "", err
	}
	if key != nil {
		sig, err := readAtMost(filepath.Join(dir, SignatureFile), mostSignature)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, "", fmt.Errorf("%s is not signed: it has no %s", dir, SignatureFile)
		}
		if err != nil {
			return nil, "", err
		}
		if err := key.verify(b, sig); err != nil {
			return nil, "", fmt.Errorf("%s: %w", filepath.Join(dir, ManifestFile), err)
		}
	}
	m, err = parse(b)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", filepath.Join(dir, ManifestFile), err)
	}
	return m, sum(b), nil
}

// parse reads a manifest and checks it.
func parse(b []byte) (*Manifest, error) {
	var m Manifest
	if err := strict(b, &m); err != nil {
		return nil, err
	}
	switch {
	case m.Kind != kind:
		return nil, errors.New("it is no manifest of a bundle")
	case m.Version != Version:
		return nil, fmt.Errorf("it has version %d of the format; this program reads version %d", m.Version, Version)
	}
	return &m, m.check()
}

// check refuses files that would be written outside of the folder of a bundle.
func (m *Manifest) check() error {
	if len(m.Files) > mostFiles {
		return fmt.Errorf("there are %d files; a bundle has at most %d", len(m.Files), mostFiles)
	}
	last, all := "", map[string]bool{}
	for _, f := range m.Files {
		all[f.Path] = true
	}
	for _, f := range m.Files {
		for at := path.Dir(f.Path); at != "." && at != "/"; at = path.Dir(at) {
			if all[at] {
				return fmt.Errorf("%q is a file and a folder", at)
			}
		}
		switch {
		case !clean(f.Path) || f.Path == ManifestFile || f.Path == SignatureFile:
			return fmt.Errorf("%q is no path of a file in a bundle", f.Path)
		case f.Path <= last:
			return fmt.Errorf("the file %q is twice in the manifest, or not in its place", f.Path)
		case f.Size < 0 || !isDigest(f.SHA256):
			return fmt.Errorf("the file %q has no size or no digest", f.Path)
		}
		last = f.Path
	}
	return nil
}

// clean reports whether a path stays in its folder, in one spelling.
func clean(p string) bool {
	if p == "" || p == "." || path.IsAbs(p) || path.Clean(p) != p || p == ".." || strings.HasPrefix(p, "../") {
		return false
	}
	return !strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == '\\' || r == ':' || r == 0x7f })
}

// Size is that of all files together.
func (m *Manifest) Size() (n int64) {
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// Compare compares the files of a bundle with their digests. A file that the manifest does not
// list is a difference.
func (m *Manifest) Compare(dir string) error {
	dir, err := filepath.EvalSymlinks(dir) // which the walk does not follow
	if err != nil {
		return err
	}
	listed := map[string]bool{ManifestFile: true, SignatureFile: true}
	for _, f := range m.Files {
		listed[f.Path] = true
		name := filepath.Join(dir, filepath.FromSlash(f.Path))
		info, err := os.Lstat(name)
		if err != nil {
			return fmt.Errorf("the bundle is damaged: %w", err)
		}
		if !info.Mode().IsRegular() || info.Size() != f.Size {
			return fmt.Errorf("the bundle is damaged: %s has %d bytes, not %d", f.Path, info.Size(), f.Size)
		}
		got, err := files.SHA256(name)
		if err != nil {
			return err
		}
		if got != f.SHA256 {
			return fmt.Errorf("the bundle is damaged: %s has another digest than in the manifest", f.Path)
		}
	}
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err == nil && !listed[filepath.ToSlash(rel)] {
			err = fmt.Errorf("the bundle has a file that its manifest does not list: %s", rel)
		}
		return err
	})
}

// strict reads a document that has no other fields and nothing behind it.
func strict(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("there is something behind the document")
	}
	return nil
}

func readAtMost(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, name, most)
}

func readAll(r io.Reader, name string, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s is larger than %d bytes", name, most)
	}
	return b, err
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func isDigest(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size && strings.ToLower(s) == s
}
