package program

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/tenon-ml/tenon/stdlib/step"
)

// killedAfter is how many numbers "count" saves if it begins at the start.
const killedAfter = 3

// Holding is the file that "count" writes before it waits to be killed.
const Holding = "holding"

// count counts from its newest checkpoint to a number, and writes from where. From the start, it does not get there: it
// is killed, or waits for that with holds.
func count(s *step.Step, dir string, to int, holds bool) error {
	if s.Checkpoints == nil {
		return os.WriteFile(filepath.Join(dir, "from"), []byte("no checkpoints"), 0o644)
	}
	found, err := s.Checkpoints.Newest(func(why error) { fmt.Println(why) })
	if err != nil {
		return err
	}
	n, from := 0, "the start"
	if found != nil {
		b, err := os.ReadFile(filepath.Join(found.Path, "in", "number"))
		if err != nil {
			return err
		}
		if n, err = strconv.Atoi(string(b)); err != nil {
			return err
		}
		from = fmt.Sprintf("%d of attempt %d", n, found.Attempt)
	}
	for i := 0; n < to; i++ {
		if i == killedAfter && found == nil {
			// What is damaged is not resumed from.
			if err := os.MkdirAll(s.Checkpoints.At(int64(n+1)), 0o755); err != nil {
				return err
			}
			if holds {
				if err := os.WriteFile(filepath.Join(dir, Holding), nil, 0o644); err != nil {
					return err
				}
			} else {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
			time.Sleep(Patience)
			return errors.New("it was not killed")
		}
		n++
		err := s.Checkpoints.Save(int64(n), func(folder string) error {
			if err := os.Mkdir(filepath.Join(folder, "in"), 0o755); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(folder, "in", "number"), []byte(strconv.Itoa(n)), 0o644)
		})
		if err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "from"), []byte(from), 0o644)
}
