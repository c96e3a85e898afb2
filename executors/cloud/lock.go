package cloud

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/tenon-ml/tenon/executors/local"
)

// Locked does something while no other tenon works on the run in a folder. The folder may be missing: then none does.
func Locked(ctx context.Context, dir string, do func() error) error {
	if _, err := os.Stat(dir); err == nil {
		lock, err := local.Lock(ctx, dir)
		if err == nil {
			defer lock.Close()
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return do()
}
