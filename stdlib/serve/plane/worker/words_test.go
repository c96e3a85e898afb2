package worker

import (
	"bytes"
	"strings"
	"testing"
)

func TestTheLastLineIsRemembered(t *testing.T) {
	for _, tt := range []struct {
		writes []string
		want   string
	}{
		{nil, ""},
		{[]string{"one\n"}, "one"},
		{[]string{"Traceback:\n  File \"x.py\"\nMemoryError: too much\n"}, "MemoryError: too much"},
		{[]string{"Trace\nValue", "Error: ", "x\n\n", "  \n"}, "ValueError: x"},
		{[]string{"one\ntwo"}, "two"},
		{[]string{"caf\u00e9\tx\n"}, "caf??x"},
		{[]string{strings.Repeat("x", 200), "y\n"}, strings.Repeat("x", mostWords)},
	} {
		var to bytes.Buffer
		w := &words{to: &to}
		for _, s := range tt.writes {
			if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
				t.Fatal(n, err)
			}
		}
		if got := w.last(); got != tt.want {
			t.Errorf("%q: the last line is %q, want %q", tt.writes, got, tt.want)
		}
		if to.String() != strings.Join(tt.writes, "") {
			t.Errorf("it passes on %q", to.String())
		}
	}
}
