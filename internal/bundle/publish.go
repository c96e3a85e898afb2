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

// latest names the newest bundle of a channel for a platform.
type latest struct {
	Kind     string `json:"kind"`
	Name     string `json:"name"`
	Platform string `json:"platform"`
	Number   int64  `json:"number"` // grows with each publication: no machine goes back
	Manifest string `json:"manifest"`
}

// A signed document is one file, so that it is replaced together with its signature.
type signed struct {
	Document  string `json:"document"`
	Signature string `json:"signature"`
}

const (
	latestKind = "tenon channel"
	mostLatest = 64 << 10
)

func latestPath(platform string) string {
	return "latest/" + strings.ReplaceAll(platform, "/", "_") + ".json"
}

// Publish adds a signed bundle to the channel in a folder and makes it the newest one of its
// platform. It returns its number, one more than that of the last one, or the number that it
// has already.
func Publish(ctx context.Context, dir, channel string, key Private) (number int64, err error) {
	m, digest, err := Read(dir, key.Public())
	if err != nil {
		return 0, err
	}
	if err := m.Compare(dir); err != nil {
		return 0, err
	}
	for _, sub := range []string{"latest", "manifests", "files"} {
		if err := os.MkdirAll(filepath.Join(channel, sub), 0o755); err != nil {
			return 0, err
		}
	}
	lock, err := files.Lock(ctx, filepath.Join(channel, "latest", ".lock")) // or two would get the same number
	if err != nil {
		return 0, err
	}
	defer lock.Close()
	now := latest{Kind: latestKind, Name: m.Name, Platform: m.Platform, Number: 1, Manifest: digest}
	at := filepath.Join(channel, filepath.FromSlash(latestPath(m.Platform)))
	b, err := readAtMost(at, mostLatest)
	switch {
	case err == nil:
		was, err := readLatest(b, key.Public())
		switch {
		case err != nil:
			return 0, fmt.Errorf("%s: %w", at, err)
		case was.Name != m.Name:
			return 0, fmt.Errorf("the channel %s has bundles of %s, not of %s", channel, was.Name, m.Name)
		case was.Manifest == digest:
			return was.Number, nil
		}
		now.Number = was.Number + 1
	case !errors.Is(err, fs.ErrNotExist):
		return 0, err
	}
	for _, f := range m.Files {
		if err := publishFile(filepath.Join(dir, filepath.FromSlash(f.Path)), filepath.Join(channel, "files", f.SHA256), f.Size); err != nil {
			return 0, err
		}
	}
	for name, to := range map[string]string{ManifestFile: ".json", SignatureFile: ".sig"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = files.WriteSynced(filepath.Join(channel, "manifests", digest+to), b, 0o644)
		}
		if err != nil {
			return 0, err
		}
	}
	document, err := json.Marshal(now)
	if err != nil {
		return 0, err
	}
	b, err = json.MarshalIndent(signed{string(document), strings.TrimSpace(string(key.sign(document)))}, "", "  ")
	if err != nil {
		return 0, err
	}
	return now.Number, files.WriteSynced(at, append(b, '\n'), 0o644)
}

// publishFile copies a file, unless it is there.
func publishFile(from, to string, size int64) (err error) {
	if info, err := os.Stat(to); err == nil && info.Size() == size {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.CreateTemp(filepath.Dir(to), files.HalfWritten)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(out.Name())
		}
	}()
	_, err = io.Copy(out, in)
	if err == nil {
		err = errors.Join(out.Chmod(0o644), out.Sync())
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), to)
}

// readLatest checks the signature of what a channel names.
func readLatest(b []byte, key Public) (*latest, error) {
	var s signed
	if err := strict(b, &s); err != nil {
		return nil, err
	}
	if err := key.verify([]byte(s.Document), []byte(s.Signature)); err != nil {
		return nil, err
	}
	var l latest
	if err := strict([]byte(s.Document), &l); err != nil {
		return nil, err
	}
	if l.Kind != latestKind || l.Number < 1 || !isDigest(l.Manifest) {
		return nil, errors.New("it names no bundle")
	}
	return &l, nil
}
