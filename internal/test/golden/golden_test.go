package golden

import "testing"

func TestMatch(t *testing.T) {
	const output = "a\nb\nc: why\n\nd\n"
	for _, c := range []struct {
		what, want string
		matches    bool
	}{
		{"the same", output, true},
		{"a line more", output + "e\n", false},
		{"a line less at the end", "a\nb\nc: why\n\n", false},
		{"a line less at the beginning", "b\nc: why\n\nd\n", false},
		{"nothing", "", false},
		{"anything", "...\n", true},
		{"the beginning", "a\nb\n...\n", true},
		{"not the beginning", "b\n...\n", false},
		{"the end", "...\n\nd\n", true},
		{"not the end", "...\nc: why\n", false},
		{"the middle", "...\nb\n...\n", true},
		{"both ends", "a\n...\nd\n", true},
		{"no line between", "a\n...\nb\n...\nc: why\n\nd\n", true},
		{"another order", "...\nc: why\n...\nb\n...\n", false},
		{"a line twice", "a\n...\na\n...\n", false},
		{"a block that is not one", "...\na\nd\n...\n", false},
		{"the beginning of a line", "a\nb\nc: ...\n\nd\n", true},
		{"another beginning of a line", "a\nb\nx: ...\n\nd\n", false},
	} {
		if lacks := Match(output, c.want); (lacks == "") != c.matches {
			t.Errorf("%s: %q", c.what, lacks)
		}
	}
	if lacks := Match("", ""); lacks != "" {
		t.Errorf("no output: %q", lacks)
	}
	if lacks := Match("a\n", ""); lacks == "" {
		t.Error("an output matches nothing")
	}
	if lacks := Match("a...\n", "a...\n"); lacks != "" {
		t.Errorf("an output that is truncated: %q", lacks)
	}
}
