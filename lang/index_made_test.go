package lang

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/stdlib"
)

// Fields of comprehensions and with computed names have the places of the fields that make
// them. Where several may be meant, it is that of the nearest parent.
func TestPlacesOfFieldsThatAreMade(t *testing.T) {
	const system = `
sources: {
	for n in ["a", "b"] {
		"late_\(n)": {path: "l", schema: x: 1} // 1
	}
	"\("early")_x": path: "e"  // 2
	written: path: "w"         // 3
	if true {
		given: path: "g"   // 4
	}
	for n in ["a", "b"] {
		(n): {path: "n"}   // 5
	}
	for n in ["p", "q"] {
		"two_\(n)": path: "t"
	}
	for n in ["p", "q"] {
		"two_\(n)": path: "t"
	}
}
for n in ["c"] {
	features: "made_\(n)": items: [{a: 1}, // 6
		{a: 2}]                        // 7
}
`
	s, err := Load(folder(t, map[string]string{"cue.mod/module.cue": moduleFile(stdlib.Version), "s.cue": small + system}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	line := func(mark string) int {
		if mark == "" {
			return 0
		}
		return strings.Count((small + system)[:strings.Index(small+system, mark)], "\n") + 1
	}
	for path, mark := range map[string]string{
		"sources.late_a.path": "// 1", "sources.late_b.schema.x": "// 1", "sources.early_x.path": "// 2", "sources.written.path": "// 3",
		"sources.given.path": "// 4", "sources.a.path": "// 5", "sources.two_p.path": "sources: {", "features.made_c.items.0.a": "// 6",
		"features.made_c.items.1.a": "// 7", "sources.late_a.other": "// 1", "sources.written.other": "// 3",
	} {
		if got := s.At("", strings.Split(path, ".")...); got.Line != line(mark) || got.File != "s.cue" {
			t.Errorf("%s: %s, want line %d", path, fmt.Sprint(got.Pos), line(mark))
		}
	}
}
