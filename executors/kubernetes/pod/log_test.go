package pod_test

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A piece is output of the program, or a progress.
type piece struct {
	Printed  string
	Progress *step.Progress
}

// merged joins outputs without progress in between: a reader need not split them in the
// same way.
func merged(all []piece) (out []piece) {
	for _, p := range all {
		switch {
		case p.Progress != nil:
			out = append(out, p)
		case p.Printed == "":
		case len(out) > 0 && out[len(out)-1].Progress == nil:
			out[len(out)-1].Printed += p.Printed
		default:
			out = append(out, p)
		}
	}
	return out
}

func written(t fataler, all []piece) string {
	var b bytes.Buffer
	w := pod.NewLogWriter(&b)
	for _, p := range all {
		var err error
		if p.Progress != nil {
			err = w.Progress(*p.Progress)
		} else {
			_, err = w.Write([]byte(p.Printed))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

type fataler interface{ Fatal(args ...any) }

// A collector records what a reader writes.
type collector struct{ got []piece }

func (c *collector) Write(b []byte) (int, error) {
	c.got = append(c.got, piece{Printed: string(b)})
	return len(b), nil
}

// readBack reads a log in pieces of the sizes that next returns.
func readBack(t fataler, log string, next func(left int) int) []piece {
	var c collector
	r := pod.NewLogReader(&c, func(p step.Progress) { c.got = append(c.got, piece{Progress: &p}) })
	for log != "" {
		n := next(len(log))
		if _, err := r.Write([]byte(log[:n])); err != nil {
			t.Fatal(err)
		}
		log = log[n:]
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return merged(c.got)
}

// A program may print any bytes, including those with a meaning in the log.
func printed() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.OneOf(
			rapid.SampledFrom([]string{"", "\n", "\x1e", "\x1e\n", "\x1e\x1e", pod.Mark, pod.Mark + "{}\n", pod.LastMark, pod.LastMark[:9], pod.Mark[:7], pod.Mark[1:], "a line\n", "part", "\x00\xff\r"}),
			rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 8), func(b []byte) string { return string(b) }),
		), 0, 4).Draw(t, "parts"), "")
	})
}

func TestWrittenValuesAreReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) piece {
			if rapid.Bool().Draw(t, "is progress") {
				message := rapid.StringOf(rapid.RuneFrom([]rune("a\n\x1e\"\\ü\u2028"))).Draw(t, "message")
				return piece{Progress: &step.Progress{Done: rapid.Float64Range(0, 1e6).Draw(t, "done"), Total: 10, Message: message}}
			}
			return piece{Printed: printed().Draw(t, "printed")}
		}), 0, 8).Draw(t, "pieces")
		log := written(t, all)
		got := readBack(t, log, func(left int) int { return rapid.IntRange(1, left).Draw(t, "read") })
		if diff := cmp.Diff(merged(all), got); diff != "" {
			t.Fatalf("the log %q was read otherwise:\n%s", log, diff)
		}
		// The raw log has progress on separate lines.
		for _, line := range strings.Split(log, "\n") {
			if at := strings.LastIndex(line, pod.Mark+"{\"done\""); at > 0 && line[at-1] != '\x1e' {
				t.Fatalf("progress is in the middle of the line %q", line)
			}
		}
	})
}

func TestLogShowsTextAndProgressInOrder(t *testing.T) {
	half := &step.Progress{Done: 1, Total: 2, Message: "half"}
	const mark = pod.Mark + `{"done":1,"total":2,"message":"half"}` + "\n"
	for name, c := range map[string]struct {
		pieces []piece
		want   string
	}{
		"between lines":       {[]piece{{Printed: "a\n"}, {Progress: half}, {Printed: "b\n"}}, "a\n" + mark + "b\n"},
		"at the beginning":    {[]piece{{Progress: half}, {Printed: "a"}}, mark + "a"},
		"within a line":       {[]piece{{Printed: "a"}, {Progress: half}, {Progress: half}, {Printed: "b\n"}}, "a\x1e\n" + mark + mark + "b\n"},
		"what looks like one": {[]piece{{Printed: mark}}, "\x1e" + mark},
		"nothing printed":     {[]piece{{Printed: "a\n"}, {Printed: ""}, {Progress: half}}, "a\n" + mark},
	} {
		if got := written(t, c.pieces); got != c.want {
			t.Errorf("%s: the log is %q, want %q", name, got, c.want)
		}
	}
}

func TestTheLastLineIsSeenAndIsNotTheProgramsOwn(t *testing.T) {
	for _, printed := range []string{"", "a\n", "a", pod.LastMark, "a" + pod.LastMark} {
		var log, out bytes.Buffer
		w := pod.NewLogWriter(&log)
		if _, err := w.Write([]byte(printed)); err != nil {
			t.Fatal(err)
		}
		for _, last := range []bool{false, true} {
			if last {
				if err := w.Last(); err != nil {
					t.Fatal(err)
				}
			}
			out.Reset()
			r := pod.NewLogReader(&out, nil)
			if _, err := r.Write(log.Bytes()); err != nil || r.Close() != nil || r.Last() != last || out.String() != printed {
				t.Errorf("%q is read as %q, its last line seen: %t, want %t (%v)", printed, out.String(), r.Last(), last, err)
			}
		}
	}
}

// A followed log shows a line when it is complete, not when the next one starts.
func TestOutputIsFlushedOnceItIsUnambiguous(t *testing.T) {
	var out bytes.Buffer
	count := 0
	r := pod.NewLogReader(&out, func(step.Progress) { count++ })
	for _, c := range []struct{ piece, want string }{
		{"a", "a"}, {"b\n", "ab\n"}, {pod.Mark, "ab\n"}, {`{"done":1}` + "\n", "ab\n"}, {"\n", "ab\n\n"}, {"\x1e", "ab\n\n"}, {"x", "ab\n\n\x1ex"},
	} {
		if _, err := r.Write([]byte(c.piece)); err != nil || out.String() != c.want {
			t.Errorf("after %q: %q, %v, want %q", c.piece, out.String(), err, c.want)
		}
	}
	if count != 1 {
		t.Errorf("progress was reported %d times", count)
	}
}

func TestOtherLinesArePassedOn(t *testing.T) {
	for _, log := range []string{
		"\x1e", pod.Mark, pod.Mark + "{", pod.Mark + "no JSON\n", pod.Mark[:5] + "\n", pod.Mark[:5] + "x\n", pod.Mark[:5] + "\x1ex",
		pod.Mark + "{\"message\": \"" + strings.Repeat("x", 70<<10) + "\"}\n",
	} {
		got := readBack(t, log, func(int) int { return 1 })
		if want := []piece{{Printed: log}}; !cmp.Equal(got, want) {
			t.Errorf("%.40q is read as %.200v", log, got)
		}
	}
}

// A progress that a reader would not accept is not written.
func TestProgressIsOneLineOrNone(t *testing.T) {
	long := &step.Progress{Message: strings.Repeat("x", 70<<10)}
	if got := written(t, []piece{{Printed: "a"}, {Progress: long}, {Printed: "b"}}); got != "ab" {
		t.Errorf("the log is %.40q", got)
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("a\n"+pod.Mark+"{}\n\x1e\n\x1e\x1e"), 3)
	f.Fuzz(func(t *testing.T, log []byte, size int) {
		whole := readBack(t, string(log), func(left int) int { return left })
		pieces := readBack(t, string(log), func(left int) int { return min(left, max(1, size)) })
		if diff := cmp.Diff(whole, pieces); diff != "" {
			t.Errorf("it depends on how it is read:\n%s", diff)
		}
	})
}
