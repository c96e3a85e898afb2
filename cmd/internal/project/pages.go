package project

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tenon-ml/tenon/internal/files"
)

// A Page is where to write a page for people.
type Page struct {
	Name      string // of the file in the folder of pages, unless To is set
	To        string // path that the user named
	Force     bool   // replace any file
	Beginning string // of pages: a file that begins so is replaced
}

// WritePage writes a page, whole or not at all, and returns its path. Pages without a
// path of their own are in the folder "reports" of the state.
func (p *Project) WritePage(o Page, content []byte) (string, error) {
	path := o.To
	if path == "" {
		dir, err := p.stateDir()
		if err != nil {
			return "", err
		}
		folder := filepath.Join(dir, "reports")
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return "", fmt.Errorf("write the page: %w; name another file with --out", err)
		}
		path = filepath.Join(folder, fileName(o.Name)+".html")
	}
	if err := o.check(path); err != nil {
		return "", err
	}
	if err := files.Write(path, content, 0o644); err != nil {
		return "", fmt.Errorf("write the page: %w", err)
	}
	return path, nil
}

// check refuses to replace what is no page.
func (o Page) check(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("write the page: %w", err)
	case info.IsDir():
		return &RequestError{fmt.Errorf("%s is a folder that exists already: choose another name", path)}
	case o.Force:
		return nil
	case !info.Mode().IsRegular():
		return existsError(path)
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	defer f.Close()
	begins := make([]byte, len(o.Beginning))
	if _, err := io.ReadFull(f, begins); err != nil || !bytes.Equal(begins, []byte(o.Beginning)) {
		return existsError(path)
	}
	return nil
}

// fileName returns a name for a file, such as "models-late@3" for "models/late@3".
func fileName(name string) string { return strings.ReplaceAll(name, "/", "-") }
