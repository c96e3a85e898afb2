package pyenv

import (
	"os"
	"path/filepath"
	"testing"
)

// A package works with the oldest version of all its tags, an environment with the newest of all its packages.
func TestOldestLibc(t *testing.T) {
	for _, tt := range []struct {
		name string
		tags [][]string // of each package
		want string
	}{
		{"no package", nil, ""},
		{"pure Python", [][]string{{"py2-none-any", "py3-none-any"}}, ""},
		{"names before PEP 600", [][]string{{"cp311-cp311-manylinux1_x86_64"}, {"cp311-cp311-manylinux2014_x86_64"}}, "2.17"},
		{"one of several is enough", [][]string{{"cp311-cp311-manylinux_2_28_x86_64", "cp311-cp311-manylinux_2_5_x86_64"}}, "2.5"},
		{"compressed", [][]string{{"cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64"}, {"py3-none-any"}}, "2.17"},
		{"versions are numbers", [][]string{{"cp311-cp311-manylinux_2_9_x86_64"}, {"cp311-cp311-manylinux_2_28_x86_64"}}, "2.28"},
		{"built here", [][]string{{"cp311-cp311-linux_x86_64"}}, "2.36"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			site := filepath.Join(t.TempDir(), "a[b]c") // no pattern
			if err := os.Mkdir(site, 0o755); err != nil {
				t.Fatal(err)
			}
			for i, tags := range tt.tags {
				dir := filepath.Join(site, string(rune('a'+i))+"-1.dist-info")
				text := "Wheel-Version: 1.0\n"
				for _, tag := range tags {
					text += "Tag: " + tag + "\n"
				}
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, "WHEEL"), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := oldestLibc(site, "2.36"); err != nil || got != tt.want {
				t.Errorf("it needs %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}
