package project

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/executors"
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
		folder, err := p.pages()
		if err != nil {
			return "", err
		}
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

// pages returns the folder of pages.
func (p *Project) pages() (string, error) {
	dir, err := p.stateDir()
	return filepath.Join(dir, "reports", p.set.Env), err
}

// pageName matches the names of pages that are about one revision, or about two.
var pageName = regexp.MustCompile(`^[^@]+@(\d+)(?:@(\d+))?\.html$`)

// oldPages returns the pages about revisions before the oldest.
func (p *Project) oldPages(oldest int) ([]executors.Garbage, error) {
	folder, err := p.pages()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the reports: %w", err)
	}
	var old []executors.Garbage
	for _, e := range entries {
		m := pageName.FindStringSubmatch(e.Name())
		gone := m != nil && slices.ContainsFunc(m[1:], func(number string) bool {
			n, err := strconv.Atoi(number)
			return err == nil && n < oldest
		})
		if !gone || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, fmt.Errorf("list the reports: %w", err)
		}
		old = append(old, executors.Garbage{Kind: "report", Name: e.Name(), Size: info.Size()})
	}
	return old, nil
}

// removePages removes pages that [Project.oldPages] has found.
func (p *Project) removePages(old []executors.Garbage) error {
	folder, err := p.pages()
	for _, g := range old {
		if e := os.Remove(filepath.Join(folder, g.Name)); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
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
