package componenttest_test

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/cmd/internal/componenttest"
	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/cmd/tenon-duck/program"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/executors/pyenv"
	"github.com/tenon-ml/tenon/stdlib"
	"github.com/tenon-ml/tenon/stdlib/duck/worker"
)

// The test binary also serves as tenon-duck.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && (os.Args[1] == "serve" || os.Args[1] == "step") {
		os.Exit(program.Run(os.Args[1:]))
	}
	os.Exit(executortest.RunWithPrograms(m))
}

// settings returns the settings of an engine on this machine.
func settings(t *testing.T) project.Settings {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cache := os.Getenv("TENON_CACHE")
	if cache == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(base, "tenon")
	}
	uv := os.Getenv("TENON_UV")
	if uv == "" {
		uv = "uv"
	}
	duck := worker.New(self)
	t.Cleanup(duck.Close)
	return project.Settings{SQL: duck, Cache: cache, UV: []string{uv}, Config: all.Config{Tenon: self, Runner: os.Getenv("TENON_RUN"), Programs: executors.Programs{Serve: executors.ServeAt(os.Getenv("TENON_SERVE"))}, Environ: os.Environ()}}
}

// Every component of the library passes the suite. A component is tested because its
// folder exists; `-run TestLibrary/source.csv` tests one.
func TestLibrary(t *testing.T) {
	components, err := componenttest.Find(filepath.Join("..", "..", "..", "stdlib"))
	if err != nil {
		t.Fatal(err)
	}
	// The largest environments first: it takes long to fetch and install them, and others run beside that.
	sizes := stdlib.WheelSizes(runtime.GOARCH)
	slices.SortStableFunc(components, func(a, b componenttest.Component) int {
		return cmp.Compare(wheels(b.Folder, sizes), wheels(a.Folder, sizes))
	})
	for _, c := range components {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			needRoom(t, c.Folder, settings(t).Cache)
			err := componenttest.Run(t.Context(), []componenttest.Component{c}, settings(t), 1, func(r componenttest.Result) {
				for _, c := range r.Checks {
					t.Logf("%-14s %-8s %s", c.Name, c.Status, c.Detail)
				}
				if !r.OK() {
					t.Fail()
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// wheels is the size in bytes of the packages that the lock of a component names.
func wheels(folder string, sizes map[string]int64) (all int64) {
	lock, err := os.ReadFile(filepath.Join(folder, "requirements.lock"))
	if err != nil {
		return 0 // it has none
	}
	for digest, size := range sizes {
		if bytes.Contains(lock, []byte(digest)) {
			all += size
		}
	}
	return all
}

// large is the size of the packages of an environment that not every disk has room for. Twice of
// it remains on the disk, and once more is needed meanwhile.
const large = 1 << 30

// needRoom skips a component whose environment is not there and does not fit on the disk.
func needRoom(t *testing.T, folder, cache string) {
	t.Helper()
	lock, err := os.ReadFile(filepath.Join(folder, "requirements.lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	sizes := func() map[string]int64 { return stdlib.WheelSizes(runtime.GOARCH) }
	missing := pyenv.New(pyenv.Options{Dir: filepath.Join(cache, "python"), UV: os.Getenv("TENON_UV"), Sizes: sizes}).Missing(lock)
	if missing == nil {
		return
	}
	var size int64
	for _, p := range missing.Packages {
		size += p.Bytes
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(cache, &disk); err != nil {
		t.Fatal(err)
	}
	if free := int64(disk.Bavail) * disk.Bsize; size > large && free < 3*size {
		t.Skipf("its environment has %d GiB of packages, and %s has only %d GiB of room: three times as much is needed", size>>30, cache, free>>30)
	}
}
