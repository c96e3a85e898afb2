package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tenon-ml/tenon/internal/files"
)

// Options say what to pull.
type Options struct {
	Channel  string // URL or folder
	Key      Public // that has to have signed everything
	Dir      string // where bundles are kept
	Platform string // "linux/arm64"
	Most     int64  // bytes of all files of a bundle
	Again    bool   // also if the bundle was rejected before

	// Prove tries a bundle, before it becomes the current one.
	Prove func(ctx context.Context, dir string) error
	// Activate makes the service use the bundle that became the current one, and waits until it
	// is ready.
	Activate func(ctx context.Context, dir, digest string) error
	Log      func(string)
}

// Pulled is the result of a pull.
type Pulled struct {
	Name    string
	Number  int64
	Digest  string // of the current bundle
	Dir     string // its folder
	Changed bool
}

// Names in [Options].Dir.
const (
	// Current is a link to the folder of the current bundle.
	Current   = "current"
	versions  = "versions"
	downloads = "downloads"
	noted     = "pulled.json"
)

// A note is what is known from earlier pulls.
type note struct {
	Name     string `json:"name,omitempty"`
	Number   int64  `json:"number,omitempty"`   // the highest that was ever seen
	Seen     string `json:"seen,omitempty"`     // the bundle that had it
	Manifest string `json:"manifest,omitempty"` // of the current bundle
	Previous string `json:"previous,omitempty"` // of the one before
	Rejected string `json:"rejected,omitempty"` // a bundle that failed
	Reason   string `json:"reason,omitempty"`
}

type pull struct {
	Options
	source
	note
}

// Pull makes the newest bundle of a channel the current one, if it proves to work. Otherwise
// the current one stays. A channel that names an older bundle than it did before is refused.
func Pull(ctx context.Context, o Options) (*Pulled, error) {
	s, err := sourceOf(o.Channel)
	if err != nil {
		return nil, err
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, err
	}
	p := &pull{Options: o, source: s}
	lock, err := files.Lock(ctx, filepath.Join(o.Dir, "pull.lock"))
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	b, err := readAtMost(filepath.Join(o.Dir, noted), mostLatest)
	if err == nil {
		err = json.Unmarshal(b, &p.note)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(o.Dir, noted), err)
	}
	return p.pull(ctx)
}

func (p *pull) pull(ctx context.Context) (*Pulled, error) {
	b, err := small(ctx, p.source, latestPath(p.Platform), mostLatest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the channel has no bundle for %s: %w", p.Platform, err)
	}
	if err != nil {
		return nil, err
	}
	l, err := readLatest(b, p.Key)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the newest bundle of the channel: %w", err)
	case l.Platform != p.Platform:
		return nil, fmt.Errorf("the newest bundle of the channel is for %s, not for %s", l.Platform, p.Platform)
	case p.Name != "" && l.Name != p.Name:
		return nil, fmt.Errorf("the channel has bundles of %s; %s is a folder of %s", l.Name, p.Dir, p.Name)
	case l.Number < p.Number:
		return nil, fmt.Errorf("the channel names bundle %d, but it has named bundle %d before: somebody may have put an old one there", l.Number, p.Number)
	case l.Number == p.Number && l.Manifest != p.Seen:
		return nil, fmt.Errorf("the channel names another bundle as number %d than before", l.Number)
	}
	p.Name, p.Number, p.Seen = l.Name, l.Number, l.Manifest
	if err := p.save(); err != nil {
		return nil, err
	}
	result := &Pulled{Name: l.Name, Number: l.Number, Digest: l.Manifest, Dir: p.folder(l.Manifest)}
	if p.Manifest == l.Manifest && p.current() == l.Manifest {
		return result, nil
	}
	if p.Rejected == l.Manifest && !p.Again {
		return nil, fmt.Errorf("bundle %d was rejected before, and is not tried again: %s", l.Number, p.Reason)
	}
	if err := p.stage(ctx, l); err != nil {
		return nil, err
	}
	if err := p.use(ctx, l.Manifest); err != nil {
		if ctx.Err() != nil {
			return nil, err // nobody knows whether the bundle works
		}
		p.Rejected, p.Reason = l.Manifest, err.Error()
		err = errors.Join(fmt.Errorf("bundle %d is rejected: %w", l.Number, err), p.save())
		if l.Manifest != p.Manifest && l.Manifest != p.current() { // otherwise the service needs its files
			err = errors.Join(err, files.RemoveAll(p.folder(l.Manifest)))
		}
		return nil, err
	}
	result.Changed = true
	if p.Manifest != l.Manifest {
		p.Previous = p.Manifest
	}
	p.Manifest, p.Rejected, p.Reason = l.Manifest, "", ""
	return result, errors.Join(p.save(), p.clean())
}

func (p *pull) folder(digest string) string { return filepath.Join(p.Dir, versions, digest) }

// current is the digest of the bundle that the link names, or "".
func (p *pull) current() string {
	to, err := os.Readlink(filepath.Join(p.Dir, Current))
	if err != nil {
		return ""
	}
	return filepath.Base(to)
}

func (p *pull) save() error {
	b, err := json.MarshalIndent(p.note, "", "  ")
	if err != nil {
		return err
	}
	return files.WriteSynced(filepath.Join(p.Dir, noted), append(b, '\n'), 0o644)
}

// stage brings all files of a bundle to its folder.
func (p *pull) stage(ctx context.Context, l *latest) error {
	b, err := small(ctx, p.source, "manifests/"+l.Manifest+".json", mostManifest)
	if err != nil {
		return err
	}
	if sum(b) != l.Manifest {
		return errors.New("the manifest of the bundle has another digest than the channel says")
	}
	sig, err := small(ctx, p.source, "manifests/"+l.Manifest+".sig", mostSignature)
	if err != nil {
		return err
	}
	if err := p.Key.verify(b, sig); err != nil {
		return fmt.Errorf("the manifest of the bundle: %w", err)
	}
	m, err := parse(b)
	switch {
	case err != nil:
		return fmt.Errorf("the manifest of the bundle: %w", err)
	case m.Name != l.Name || m.Platform != l.Platform:
		return fmt.Errorf("the bundle is %s for %s, not %s for %s", m.Name, m.Platform, l.Name, l.Platform)
	case m.Size() > p.Most:
		return fmt.Errorf("the bundle has %d bytes; the limit is %d", m.Size(), p.Most)
	}
	to := p.folder(l.Manifest)
	if m.Compare(to) == nil {
		return nil // an earlier pull was killed
	}
	if err := files.RemoveAll(to); err != nil {
		return err
	}
	for _, dir := range []string{versions, downloads} {
		if err := os.MkdirAll(filepath.Join(p.Dir, dir), 0o755); err != nil {
			return err
		}
	}
	if err := files.Sweep(filepath.Join(p.Dir, versions)); err != nil {
		return err
	}
	if err := p.download(ctx, m); err != nil {
		return err
	}
	return p.assemble(m, b, sig, to)
}

// download brings the files of a bundle to the folder of downloads. Files of the current bundle
// are taken from it.
func (p *pull) download(ctx context.Context, m *Manifest) error {
	have := map[string]string{}
	if p.Manifest != "" {
		if old, _, err := Read(p.folder(p.Manifest), p.Key); err == nil {
			for _, f := range old.Files {
				have[f.SHA256] = filepath.Join(p.folder(p.Manifest), filepath.FromSlash(f.Path))
			}
		}
	}
	for _, f := range m.Files {
		to := filepath.Join(p.Dir, downloads, f.SHA256)
		if info, err := os.Stat(to); err == nil && info.Size() == f.Size {
			if got, err := files.SHA256(to); err == nil && got == f.SHA256 {
				continue
			}
		}
		if from := have[f.SHA256]; from != "" {
			if err := copyFile(from, to); err != nil {
				return err
			}
			if got, err := files.SHA256(to); err == nil && got == f.SHA256 {
				continue
			}
		}
		if err := download(ctx, p.source, f, to); err != nil {
			return err
		}
	}
	return nil
}

// assemble makes the folder of a bundle, which is complete or absent.
func (p *pull) assemble(m *Manifest, manifest, sig []byte, to string) (err error) {
	dir, err := os.MkdirTemp(filepath.Dir(to), files.HalfWritten)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = files.RemoveAll(dir)
		}
	}()
	for _, f := range m.Files {
		name, mode := filepath.Join(dir, filepath.FromSlash(f.Path)), fs.FileMode(0o644)
		if f.Program {
			mode = 0o755
		}
		err := os.MkdirAll(filepath.Dir(name), 0o755)
		if err == nil {
			err = copyFile(filepath.Join(p.Dir, downloads, f.SHA256), name)
		}
		if err == nil {
			err = os.Chmod(name, mode)
		}
		if err != nil {
			return err
		}
	}
	err = errors.Join(files.WriteSynced(filepath.Join(dir, ManifestFile), manifest, 0o644), files.WriteSynced(filepath.Join(dir, SignatureFile), sig, 0o644), os.Chmod(dir, 0o755))
	if err == nil {
		err = m.Compare(dir)
	}
	if err != nil {
		return err
	}
	return os.Rename(dir, to)
}

// use proves a bundle and makes it the current one. If it does not work, the one before is
// current again.
func (p *pull) use(ctx context.Context, digest string) error {
	dir := p.folder(digest)
	if err := p.Prove(ctx, dir); err != nil {
		return err
	}
	if err := p.link(digest); err != nil {
		return err
	}
	err := p.Activate(ctx, filepath.Join(p.Dir, Current), digest)
	if err == nil {
		return nil
	}
	within := context.WithoutCancel(ctx)
	if p.Manifest == "" {
		return errors.Join(err, os.Remove(filepath.Join(p.Dir, Current)))
	}
	if back := p.link(p.Manifest); back != nil {
		return errors.Join(err, back)
	}
	p.Log("the bundle before is current again: " + p.Manifest)
	if back := p.Activate(within, filepath.Join(p.Dir, Current), p.Manifest); back != nil {
		return fmt.Errorf("%w; and the bundle before, which is current again, does not work either: %w", err, back)
	}
	return err
}

// link lets the link to the current bundle name another one, in one step.
func (p *pull) link(digest string) error {
	tmp := filepath.Join(p.Dir, files.HalfWritten+Current)
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(filepath.Join(versions, digest), tmp); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(p.Dir, Current))
}

// clean removes all bundles but the current one and the one before.
func (p *pull) clean() error {
	err := files.RemoveAll(filepath.Join(p.Dir, downloads))
	all, readErr := os.ReadDir(filepath.Join(p.Dir, versions))
	err = errors.Join(err, readErr)
	for _, e := range all {
		if name := e.Name(); name != p.Manifest && name != p.Previous && (isDigest(name) || strings.HasPrefix(name, files.HalfWritten)) {
			err = errors.Join(err, files.RemoveAll(filepath.Join(p.Dir, versions, name)))
		}
	}
	return err
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Sync()
}
