package bundle

import (
	"archive/zip"
	"bytes"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Ask runs tenon-serve with variables, and a question on its standard input, or none if that is
// nil. It returns what the program prints. An error is the one that the program says.
func Ask(ctx context.Context, program string, env map[string]string, question any, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		cmd.Env = append(cmd.Env, name+"="+env[name])
	}
	if question != nil {
		b, err := json.Marshal(question)
		if err != nil {
			return nil, err
		}
		cmd.Stdin = bytes.NewReader(b)
	}
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &log, 5*time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		text := strings.TrimSpace(log.String())
		if _, says, ok := strings.Cut("\n"+text, "\nerror: "); ok {
			return nil, errors.New(says)
		}
		return nil, fmt.Errorf("tenon-serve %s: %w\n%s", args[0], err, text)
	}
	return out.Bytes(), nil
}

// CheckProgram returns an error if the file is not tenon-serve for a platform: one that wraps
// [fs.ErrNotExist] if there is none.
func CheckProgram(at, goos, goarch string) error {
	info, err := buildinfo.ReadFile(at)
	if errors.Is(err, fs.ErrNotExist) {
		return &missingProgram{fmt.Sprintf("there is no tenon-serve for %s/%s at %s: make it in Tenon's source with `make platforms PLATFORMS=%[1]s/%[2]s`", goos, goarch, at)}
	}
	if err != nil {
		return fmt.Errorf("%s is no program in Go: %w", at, err)
	}
	built := map[string]string{}
	for _, s := range info.Settings {
		built[s.Key] = s.Value
	}
	if !strings.HasSuffix(info.Path, "/cmd/tenon-serve") || built["GOOS"] != goos || built["GOARCH"] != goarch {
		return fmt.Errorf("%s is %s for %s/%s, not tenon-serve for %s/%s", at, info.Path, built["GOOS"], built["GOARCH"], goos, goarch)
	}
	return nil
}

// A missingProgram says how to make a program.
type missingProgram struct{ says string }

func (e *missingProgram) Error() string { return e.says }
func (e *missingProgram) Unwrap() error { return fs.ErrNotExist }

// CopyProgram copies a program into a bundle.
func CopyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(0o755), out.Close())
}

// Bootstrap is the name of the program in a function of AWS Lambda, which AWS starts.
const Bootstrap = "bootstrap"

// Limits of AWS Lambda, in bytes: of the files of a function, and of an archive that does not come
// from S3.
const (
	MostUnzipped = 250 << 20
	MostUploaded = 50 << 20
)

// Zip writes the files of a folder as the archive of a function of AWS Lambda, and returns its size. Its
// bytes depend only on the files.
func Zip(dir, to string) (size int64, err error) {
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	w := zip.NewWriter(out)
	total := int64(0)
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		total += info.Size()
		// The date is the first that an archive can have.
		h := &zip.FileHeader{Name: filepath.ToSlash(rel), Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
		h.SetMode(0o644)
		if info.Mode()&0o100 != 0 {
			h.SetMode(0o755)
		}
		f, err := w.CreateHeader(h)
		if err != nil {
			return err
		}
		in, err := os.Open(name)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, in)
		return errors.Join(err, in.Close())
	})
	if err = errors.Join(err, w.Close()); err != nil {
		return 0, err
	}
	if total > MostUnzipped {
		return 0, fmt.Errorf("the function has %d bytes; AWS Lambda takes at most %d: take --format image", total, MostUnzipped)
	}
	info, err := out.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
