package main

import (
	"strings"
	"testing"
	"time"
)

func TestTook(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0ms", 340 * time.Millisecond: "340ms", 12400 * time.Millisecond: "12.4s",
		185 * time.Second: "3m05s", 2*time.Hour + 7*time.Minute: "2h07m",
	} {
		if got := took(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestBytesOf(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 3 << 29: "1.5 GiB", 5 << 40: "5.0 TiB"} {
		if got := bytesOf(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// The difference of two long values stays visible, however late it is.
func TestClipBoth(t *testing.T) {
	same := strings.Repeat("the same ", 20)
	for _, c := range []struct{ before, after, wantBefore, wantAfter string }{
		{"1", "2", "1", "2"},
		{same + "old", same + "new", "...e the same the same old", "...e the same the same new"},
		{"old " + same, "new " + same, "old the same the same the same the same the same the same...", "new the same the same the same the same the same the same..."},
		{"SELECT a,\n\t  b", "SELECT a, c", "SELECT a, b", "SELECT a, c"},
	} {
		before, after := clipBoth(c.before, c.after)
		if before != c.wantBefore || after != c.wantAfter {
			t.Errorf("%q and %q, want %q and %q", before, after, c.wantBefore, c.wantAfter)
		}
		if n := len([]rune(before)); n > reasonLimit+3 {
			t.Errorf("%d characters: %q", n, before)
		}
	}
}

func TestPrintable(t *testing.T) {
	if got, want := printable("a\tb\x1b[31m\x00\x07\xff\u00fc"), "a\tb.[31m...ü"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// A value is shown without quotes where it is unambiguous.
func TestValue(t *testing.T) {
	for raw, want := range map[string]string{
		`"2GiB"`: "2GiB", `"sources.a.out"`: "sources.a.out", `"8"`: `"8"`, `8`: "8", `"true"`: `"true"`, `""`: `""`, `"a b"`: `"a b"`,
		`"\u001b[31m"`: `"\u001b[31m"`, `["a",1]`: `["a",1]`, `{"type":"string","nullable":true,"values":["a"]}`: `string, nullable, values ["a"]`,
		`{"type":"int64","unique":true,"min":0,"max":1e3}`: "int64, unique, min 0, max 1e3", `{"a":1}`: `{"a":1}`, "": "",
	} {
		if got := value([]byte(raw)); got != want {
			t.Errorf("%s: %s, want %s", raw, got, want)
		}
	}
}

// Markdown shows any text unchanged, and a table keeps its cells.
func TestMarkdownCell(t *testing.T) {
	for s, want := range map[string]string{
		"": "", "a|b": "`a\\|b`", "a`b": "``a`b``", "`a`": "`` `a` ``", "a\nb": "`a b`", "``": "``` `` ```",
	} {
		if got := markdownCell(s); got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
	if got, want := markdownText("_a_ <b> | `c`"), "\\_a\\_ &lt;b> \\| \\`c\\`"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestShellQuote(t *testing.T) {
	for s, want := range map[string]string{"iris": "iris", "a b": "'a b'", "it's": `'it'\''s'`, "a#b": "'a#b'", "a`b": "'a`b'", "Été": "Été", "../x": "../x"} {
		if got := shellQuote(s); got != want {
			t.Errorf("%s: %s, want %s", s, got, want)
		}
	}
}
