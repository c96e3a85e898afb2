package pyenv

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// oldestLibc returns the oldest version of the GNU C library with which all installed packages
// work, as their tags say, or "" if they work with any. A package that was built here needs the
// version here.
func oldestLibc(site, here string) (string, error) {
	packages := os.DirFS(site)
	wheels, err := fs.Glob(packages, "*.dist-info/WHEEL")
	if err != nil {
		return "", err
	}
	oldest := ""
	for _, path := range wheels {
		b, err := fs.ReadFile(packages, path)
		if err != nil {
			return "", err
		}
		of, known := "", false
		for line := range strings.Lines(string(b)) {
			tag, ok := strings.CutPrefix(strings.TrimSpace(line), "Tag: ")
			if !ok {
				continue
			}
			for platform := range strings.SplitSeq(tag[strings.LastIndex(tag, "-")+1:], ".") {
				if needs, ok := libcOf(platform, here); ok && (!known || LibcBefore(needs, of)) {
					of, known = needs, true
				}
			}
		}
		if LibcBefore(oldest, of) {
			oldest = of
		}
	}
	return oldest, nil
}

// libcOf returns the version that a platform in a tag needs: PEP 600, and the names before that.
func libcOf(platform, here string) (needs string, ok bool) {
	if old, rest := platform, ""; strings.HasPrefix(platform, "manylinux") {
		old, rest, _ = strings.Cut(platform, "_")
		switch old {
		case "manylinux1":
			return "2.5", true
		case "manylinux2010":
			return "2.12", true
		case "manylinux2014":
			return "2.17", true
		}
		var major, minor int
		if _, err := fmt.Sscanf(rest, "%d_%d_", &major, &minor); err != nil {
			return "", false
		}
		return fmt.Sprintf("%d.%d", major, minor), true
	}
	switch {
	case platform == "any":
		return "", true
	case strings.HasPrefix(platform, "linux_"):
		return here, true
	}
	return "", false
}

// LibcBefore reports whether a version of the C library is older than another. "" is the oldest.
func LibcBefore(a, b string) bool {
	var x, y [2]int
	_, _ = fmt.Sscanf(a, "%d.%d", &x[0], &x[1]) // what cannot be read is 0
	_, _ = fmt.Sscanf(b, "%d.%d", &y[0], &y[1])
	return x[0] < y[0] || x[0] == y[0] && x[1] < y[1]
}
