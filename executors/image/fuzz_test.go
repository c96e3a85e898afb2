package image_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tenon-ml/tenon/executors/image"
)

// Any archive is either imported as a whole or rejected, and nothing is written outside
// the store.
func FuzzImport(f *testing.F) {
	img := randomImage(f)
	for _, file := range []string{archive(f, "root.tar", file{"usr/", ""}, file{"usr/env", "x"}), dockerArchive(f, img), ociArchive(f, nil, img)} {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		file := filepath.Join(dir, "archive.tar")
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
		s := image.New(image.Options{Dir: filepath.Join(dir, "store"), Hosts: dir, Credentials: credentials("", "")})
		pinned, err := s.Import(t.Context(), file, "fuzz/it:1")
		if err == nil {
			if _, err := s.Open(t.Context(), pinned); err != nil {
				t.Fatalf("what was taken in cannot be opened: %v", err)
			}
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() != "archive.tar" && e.Name() != "store" {
				t.Errorf("%s was written", e.Name())
			}
		}
	})
}
