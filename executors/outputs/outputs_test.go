package outputs

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/step"
)

func TestTailFollowsAFileThatGrows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "progress.jsonl")
	synctest.Test(t, func(t *testing.T) {
		var seen []float64
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			Tail(path, stop, func(p step.Progress) { seen = append(seen, p.Done+float64(p.Values["loss"])) })
		}()
		grow := func(text string) {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.WriteString(text)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * tailEvery)
		}
		time.Sleep(tailEvery)
		grow(`{"done": 1}` + "\n" + `{"done": `)
		grow(`2}` + "\n" + strings.Repeat("x", 3*maxLine) + "\n")
		grow(`{"done": 3}` + "\n" + `{"done": 4}` + "\n")
		grow(`5` + "\n")
		grow(`{"step": 1, "values": {"loss": 0.5}}` + "\n" + `{"done": 6}` + "\n" + `{"step": 2, "values": {"loss": 0.25}}` + "\n" + `{"done": 7}` + "\n")
		close(stop)
		<-done
		if !slices.Equal(seen, []float64{1, 2, 4, 0.5, 0.25, 7}) {
			t.Errorf("reported %v", seen)
		}
	})
}

func TestAnOutputIsAFileOrAFolder(t *testing.T) {
	dir := t.TempDir()
	file, folder, link, pipe := filepath.Join(dir, "file"), filepath.Join(dir, "folder"), filepath.Join(dir, "link"), filepath.Join(dir, "pipe")
	if err := errors.Join(os.WriteFile(file, nil, 0o644), os.Mkdir(folder, 0o755), os.Symlink(file, link), syscall.Mkfifo(pipe, 0o644)); err != nil {
		t.Fatal(err)
	}
	const table, model, aFile = "is a table: expected one Parquet file at ", "is a model: expected a folder at ", "is a file: expected a file or a folder at "
	for _, c := range []struct {
		kind       ir.PortKind
		path, want string
	}{
		{ir.Table, file, ""}, {ir.Model, folder, ""}, {ir.Report, folder, ""}, {ir.File, file, ""}, {ir.File, folder, ""},
		{ir.Table, folder, table + folder + ", but the step wrote a folder"},
		{ir.Table, link, table + link + ", but the step wrote a link"},
		{ir.Model, file, model + file + ", but the step wrote a file"},
		{ir.File, link, aFile + link + ", but the step wrote a link"},
		{ir.File, pipe, aFile + pipe + ", but the step wrote something else (p---------)"},
		{ir.EndpointOf, file, `is of kind "endpoint", which a step cannot write`},
		{ir.File, dir + "/no", "is missing: the step wrote nothing at " + dir + "/no"},
	} {
		got := ""
		err := Output("out", c.kind, c.path)
		if err != nil {
			got = strings.TrimPrefix(err.Error(), "output out ")
		}
		if got != c.want || errors.Is(err, ErrMissing) != strings.Contains(c.want, "missing") {
			t.Errorf("%s at %s: %q, want %q", c.kind, c.path, got, c.want)
		}
	}
}

func TestOnlyAFileIsRead(t *testing.T) {
	dir := t.TempDir()
	file, link, pipe, large := filepath.Join(dir, "file"), filepath.Join(dir, "link"), filepath.Join(dir, "pipe"), filepath.Join(dir, "large")
	err := errors.Join(os.WriteFile(file, []byte("text"), 0o644), os.Symlink("/dev/zero", link), syscall.Mkfifo(pipe, 0o644),
		os.WriteFile(large, nil, 0o644), os.Truncate(large, maxNote+1))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := Read(file); err != nil || string(b) != "text" {
		t.Errorf("%q, %v", b, err)
	}
	for path, want := range map[string]string{
		link: "too many levels of symbolic links", pipe: "instead of a file", dir: "instead of a file", large: "is larger than 16 MiB",
		dir + "/no": "no such file",
	} {
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

func FuzzTail(f *testing.F) {
	f.Add([]byte("{\"done\": 1}\n5\n{"))
	f.Fuzz(func(t *testing.T, content []byte) {
		tail := tailer{path: filepath.Join(t.TempDir(), "progress.jsonl")}
		if err := os.WriteFile(tail.path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		reported := 0
		tail.read(func(step.Progress) { reported++ })
		if reported > 0 && tail.at == 0 || tail.at > int64(len(content)) {
			t.Errorf("read up to %d of %d, and reported %d times", tail.at, len(content), reported)
		}
	})
}
