package diag

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNearestFindsTheNameThatWasMeant(t *testing.T) {
	names := []string{"customers", "churned", "roc_auc", "out", "trainers", "id"}
	for name, want := range map[string]string{
		"custmers": "customers", // a letter left out
		"chruned":  "churned",   // two letters swapped
		"roc_auk":  "roc_auc",
		"Trainer":  "trainers", // case and a plural
		"churn":    "churned",  // the beginning of a name
		"weather":  "",
		"x":        "",
	} {
		if got := Nearest(name, names); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestSortOrdersByPositionAndDropsDuplicates(t *testing.T) {
	at := func(line int) []Span { return []Span{{Pos: Pos{File: "a.cue", Line: line, Col: 1}}} }
	got := List{{Message: "late", Spans: at(9)}, {Message: "early", Spans: at(2)}, {Message: "late", Spans: at(9)}, {Message: "whole"}}.Sort()
	want := List{{Message: "whole"}, {Message: "early", Spans: at(2)}, {Message: "late", Spans: at(9)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPrintPutsTheCaretUnderWhatIsMeant(t *testing.T) {
	source := "a: 1\n\tköln: \"straße\" & x // é\nlast"
	for name, tt := range map[string]struct {
		span Span
		want string
	}{
		"tabs stay tabs":           {Span{Pos{"f", 2, 2}, 0, ""}, " --> f:2:2\n2 | \tköln: \"straße\" & x // é\n  | \t^^^^\n"},
		"a string is one token":    {Span{Pos{"f", 2, 9}, 0, "here"}, " --> f:2:9\n2 | \tköln: \"straße\" & x // é\n  | \t      ^^^^^^^^ here\n"},
		"a length is in bytes":     {Span{Pos{"f", 2, 9}, 13, ""}, " --> f:2:9\n2 | \tköln: \"straße\" & x // é\n  | \t      ^^^^^^^^^^^^\n"},
		"past the end of the line": {Span{Pos{"f", 3, 5}, 3, ""}, " --> f:3:5\n3 | last\n  |     ^\n"},
		"past the end of the file": {Span{Pos{"f", 7, 1}, 0, "gone"}, " --> f:7:1: gone\n"},
		"beyond the line":          {Span{Pos{"f", 1, 50}, 0, ""}, " --> f:1:50\n"},
		"a whole file":             {Span{Pos: Pos{File: "f"}}, " --> f\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			l := List{{Message: "m", Spans: []Span{tt.span}}}
			if err := Print(&b, l, func(string) []byte { return []byte(source) }, Style{}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff("error: m\n"+tt.want, b.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzPrintNeverPanics(f *testing.F) {
	f.Add("a: \"b\"\n", 1, 4, 2)
	f.Add("\xff\xfe", 1, 2, 9)
	f.Add("", 0, 0, 0)
	f.Fuzz(func(t *testing.T, source string, line, col, length int) {
		l := List{{Message: "m", Spans: []Span{{Pos{"f", line, col}, length, "x"}}}}
		if err := Print(&bytes.Buffer{}, l, func(string) []byte { return []byte(source) }, Style{}); err != nil {
			t.Error(err)
		}
	})
}
