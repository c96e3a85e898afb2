package examples_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// times are all that may differ from what is shown.
var times = regexp.MustCompile(`\b[0-9.]+m?s\b`)

// What the README shows is what a newcomer gets. TENON_UPDATE=1 rewrites it.
func TestTheReadmeShowsWhatHappens(t *testing.T) {
	s := &system{t: t, dir: t.TempDir(), env: []string{"TENON_CACHE=" + t.TempDir()}} // a newcomer has no environments
	s.must("init")
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	want := map[string]string{
		"A system": "cue\n" + read(s.dir+"/system.cue"),
		"The plan": "\n$ tenon plan\n" + s.must("plan"),
	}
	want["Tests"] = "\n" + read(s.dir+"/tests/ratio.txtar")
	s.edit("system.cue", "petal_length / petal_width", "petal_width / petal_length")
	out, err := s.run("test")
	if err == nil {
		t.Fatal("a feature that gives something else passed its test")
	}
	want["Tests 2"] = "\n$ tenon test\n" + out
	s.edit("system.cue", "petal_width / petal_length", "petal_length / petal_width")
	s.edit("system.cue", "species: col", "kind: col")
	out, err = s.run("plan")
	if err == nil {
		t.Fatal("a name that nothing has was taken")
	}
	want["A system 2"] = "\n" + out

	readme := read("../README.md")
	for place, text := range want {
		heading, second := strings.CutSuffix(place, " 2")
		block := regexp.MustCompile("(?s)## " + heading + "\n.*?```(.*?)```")
		if second {
			block = regexp.MustCompile("(?s)## " + heading + "\n.*?```.*?```.*?```(.*?)```")
		}
		m := block.FindStringSubmatchIndex(readme)
		if m == nil {
			t.Fatalf("the README has no block for %q", place)
		}
		diff := cmp.Diff(times.ReplaceAllString(text, "TIME"), times.ReplaceAllString(readme[m[2]:m[3]], "TIME"))
		switch {
		case diff == "":
		case os.Getenv("TENON_UPDATE") != "":
			readme = readme[:m[2]] + text + readme[m[3]:]
		default:
			t.Errorf("%s (-tenon +README):\n%s", place, diff)
		}
	}
	if os.Getenv("TENON_UPDATE") != "" {
		if err := os.WriteFile("../README.md", []byte(readme), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// The picture of the README is what `tenon graph` draws. TENON_UPDATE=1 redraws it.
func TestThePictureIsCurrent(t *testing.T) {
	const picture = "../docs/flights.svg"
	s := &system{t: t, dir: "flights"}
	drawn := s.must("graph", "--format", "svg")
	if os.Getenv("TENON_UPDATE") != "" {
		if err := os.WriteFile(picture, []byte(drawn), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	shown, err := os.ReadFile(picture)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(drawn, string(shown)); diff != "" {
		t.Errorf("docs/flights.svg is not what tenon draws; make golden draws it (-drawn +shown):\n%s", diff)
	}
}
