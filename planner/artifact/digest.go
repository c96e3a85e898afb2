package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/tenon-ml/tenon/internal/files"
)

// ErrChanged means that a file changed while it was read.
var ErrChanged = errors.New("it changed while it was being read")

// Short is the part of a digest that people compare by eye.
func Short(digest string) string {
	d := strings.TrimPrefix(digest, "sha256:")
	return d[:min(len(d), 12)]
}

// Digest returns the digest of a file or a folder: "sha256:" and the SHA-256, in
// hexadecimal, of the file's bytes or of the folder's [Listing].
//
// It refuses what cannot be kept: dangling symbolic links, symbolic links that point
// outside the folder, devices, sockets and pipes.
func Digest(ctx context.Context, path string) (string, error) {
	t, err := scan(ctx, path)
	return t.digest, err
}

// A tree is a file or a folder that was scanned.
type tree struct {
	digest  string
	size    int64
	shared  bool     // a file in it has another hard link elsewhere
	files   []string // paths
	dirs    []string // paths, parents first
	listing []Entry  // of a folder
}

func scan(ctx context.Context, root string) (tree, error) {
	info, err := os.Lstat(root)
	if err != nil {
		return tree{}, fmt.Errorf("digest: %w", err)
	}
	if info.Mode().IsRegular() {
		t := tree{size: info.Size(), shared: links(info) > 1, files: []string{root}}
		t.digest, err = File(ctx, root)
		return t, err
	}
	if !info.IsDir() {
		return tree{}, fmt.Errorf("digest %s: %s is neither a file nor a folder", root, kindOf(info.Mode()))
	}
	physical, err := filepath.EvalSymlinks(root)
	if err != nil {
		return tree{}, fmt.Errorf("digest: %w", err)
	}
	t := tree{dirs: []string{root}}
	if err := t.list(ctx, root, physical, ""); err != nil {
		return tree{}, fmt.Errorf("digest %s: %w", root, err)
	}
	t.digest = DigestOf(Listing(t.listing))
	return t, nil
}

// list adds the contents of one folder: depth first, each folder sorted by name, so that
// the order depends on the names alone.
func (t *tree) list(ctx context.Context, root, physical, rel string) error {
	entries, err := os.ReadDir(filepath.Join(root, filepath.FromSlash(rel)))
	if err != nil {
		return err
	}
	for _, e := range entries {
		slash := path.Join(rel, e.Name())
		full := filepath.Join(root, filepath.FromSlash(slash))
		info, err := os.Lstat(full)
		if err != nil {
			return err
		}
		switch {
		case info.IsDir():
			t.listing = append(t.listing, Entry{Kind: Folder, Path: slash})
			t.dirs = append(t.dirs, full)
			if err := t.list(ctx, root, physical, slash); err != nil {
				return err
			}
		case info.Mode().IsRegular():
			digest, err := File(ctx, full)
			if err != nil {
				return err
			}
			kind := Plain
			if info.Mode()&0o111 != 0 {
				kind = Executable
			}
			t.listing = append(t.listing, Entry{Kind: kind, Size: info.Size(), Digest: digest, Path: slash})
			t.size += info.Size()
			t.shared = t.shared || links(info) > 1
			t.files = append(t.files, full)
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := checkLink(root, physical, full)
			if err != nil {
				return err
			}
			t.listing = append(t.listing, Entry{Kind: Link, Size: int64(len(target)), Digest: DigestOf([]byte(target)), Path: slash})
		default:
			return fmt.Errorf("%s is %s: an artifact can contain only files, folders and links within it", slash, kindOf(info.Mode()))
		}
	}
	return nil
}

// CheckLink refuses a symbolic link below root that is dangling or points outside it.
func CheckLink(root, link string) error {
	physical, err := filepath.EvalSymlinks(root)
	if err != nil {
		return err
	}
	_, err = checkLink(root, physical, link)
	return err
}

// checkLink refuses a link that would have another meaning elsewhere.
func checkLink(root, physical, link string) (string, error) {
	target, err := os.Readlink(link)
	if err != nil {
		return "", err
	}
	out := fmt.Errorf("the link %s points outside the folder, to %s", link, target)
	if filepath.IsAbs(target) || !within(root, filepath.Join(filepath.Dir(link), target)) {
		return "", out
	}
	// The text of the link is not enough: a folder on the way may be a link itself.
	at, err := filepath.EvalSymlinks(link)
	if err != nil {
		return "", fmt.Errorf("the link %s is dangling: %w", link, err)
	}
	if !within(physical, at) {
		return "", out
	}
	return target, nil
}

func within(root, path string) bool {
	rel, err := filepath.Rel(root, path)
	return err == nil && filepath.IsLocal(rel)
}

// File returns the digest of one file. It fails with [ErrChanged] if the file changes
// while it is read.
func File(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	n, err := io.Copy(h, files.Reader(ctx, f))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	after, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !os.SameFile(before, after) || n != after.Size() || !before.ModTime().Equal(after.ModTime()) {
		return "", fmt.Errorf("%s: %w", path, ErrChanged)
	}
	return sum(h.Sum(nil)), nil
}

// DigestOf returns the digest of a file with that content.
func DigestOf(b []byte) string {
	s := sha256.Sum256(b)
	return sum(s[:])
}

func sum(b []byte) string { return prefix + hex.EncodeToString(b) }

const prefix = "sha256:"

// Hex returns the hexadecimal part of a well-formed digest.
func Hex(digest string) (string, bool) {
	h, ok := strings.CutPrefix(digest, prefix)
	if !ok || len(h) != hex.EncodedLen(sha256.Size) || strings.Trim(h, "0123456789abcdef") != "" {
		return "", false
	}
	return h, true
}

func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeSymlink != 0:
		return "a symbolic link"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeNamedPipe != 0:
		return "a pipe"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "something special"
}
