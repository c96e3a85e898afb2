package classes

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// scikit-learn has been asked which values its parameters take, by
// stdlib/lib/packages/verdicts.py. TENON_VERDICTS names a file with more of its answers.
func TestAcceptsWhatTheLibraryAccepts(t *testing.T) {
	file := "testdata/verdicts.txt"
	if name := os.Getenv("TENON_VERDICTS"); name != "" {
		file = name
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	n, refused := 0, 0
	for lines.Scan() {
		p := strings.SplitN(lines.Text(), " ", 4)
		path, name, answer, value := p[0], p[1], p[2], p[3]
		c, ok, err := Of(path).Find(path)
		if err != nil || !ok {
			t.Fatalf("%s: %v", path, err)
		}
		if c == nil {
			continue // it exists only once another module is imported
		}
		d := json.NewDecoder(strings.NewReader(value))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		param, ok := c.Params[name]
		if !ok {
			t.Errorf("%s has no parameter %s", path, name)
			continue
		}
		n++
		if answer == "no" {
			refused++
		}
		if got := param.Accepts(v); got != (answer == "yes") {
			t.Errorf("%s of %s: %s: accepted is %t, and scikit-learn says %s", name, path, value, got, answer)
		}
	}
	if n < 500 || refused < 100 {
		t.Errorf("only %d answers, %d of which refuse", n, refused)
	}
}

// Of native parameters, the index has what XGBoost and LightGBM take, see values.py. It never
// refuses what they accept; between what was tried, it may accept more.
func TestAcceptsWhatNativeParametersAccept(t *testing.T) {
	b, err := os.ReadFile("testdata/native.txt")
	if err != nil {
		t.Fatal(err)
	}
	n, refused := 0, 0
	for line := range strings.Lines(string(b)) {
		p := strings.SplitN(strings.TrimSpace(line), " ", 4)
		c, _, err := Of(p[0]).Find(p[0])
		if err != nil || c == nil {
			t.Fatalf("%s: %v", p[0], err)
		}
		d := json.NewDecoder(strings.NewReader(p[3]))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		param := c.Params[p[1]]
		accepted := param.Accepts(v)
		if p[2] == "yes" && !accepted {
			t.Errorf("%s of %s: %s is refused, and the library takes it", p[1], p[0], p[3])
		}
		n++
		if !accepted {
			refused++
		}
	}
	if n < 200 || refused < 80 {
		t.Errorf("only %d answers, %d of which refuse", n, refused)
	}
}

func TestFind(t *testing.T) {
	for path, want := range map[string]struct {
		path string
		ok   bool
	}{
		"sklearn.svm.SVC":                       {"sklearn.svm.SVC", true},
		"sklearn.calibration.LinearSVC":         {"sklearn.svm.LinearSVC", true},
		"sklearn.svm.SVCs":                      {"", false},
		"sklearn.svm":                           {"", false},
		"sklearn":                               {"", false},
		"sklearn.svm._classes.Any":              {"", true},
		"sklearn.experimental.anything.At.all":  {"", true},
		"sklearn.impute.IterativeImputer":       {"", true},
		"sklearn.linear_model.LinearRegression": {"sklearn.linear_model.LinearRegression", true},
	} {
		c, ok, err := Of(path).Find(path)
		if c == nil {
			c = &Class{}
		}
		if err != nil || ok != want.ok || c.Path != want.path {
			t.Errorf("Find(%s) = %q, %t, %v; want %q, %t", path, c.Path, ok, err, want.path, want.ok)
		}
	}
	if x := Of("acme.Forest"); x != nil {
		t.Errorf("Of(acme.Forest) = %v, want nil", x)
	}
}

func TestLocked(t *testing.T) {
	x := Of("xgboost.XGBClassifier")
	for lock, want := range map[string][2]bool{
		"":                                {false, false},
		"xgboost-cpu==3.2.0 \\\n  --hash": {true, true},
		"xgboost==3.2.0 ; sys_platform == 'darwin' \\\n": {true, true},
		"xgboost-cpu==3.2.0":                             {true, true},
		"xgboost-cpu==3.2.01":                            {false, true},
		"xgboost-cpu==3.1.0":                             {false, true},
		"xgboost-cpu @ file:///x.whl":                    {false, true},
		"xgboost-distribution==3.2.0":                    {false, false},
		"pandas==3.0.0\nxgboost-cpu==3.2.0\na==1":        {true, true},
	} {
		version, any := x.Locked([]byte(lock))
		if version != want[0] || any != want[1] {
			t.Errorf("Locked(%q) = %t, %t; want %v", lock, version, any, want)
		}
	}
}

// A compilation looks up few classes, and reads nothing else of the index.
func BenchmarkFind(b *testing.B) {
	for b.Loop() {
		x := Of("sklearn.svm.SVC")
		if c, _, err := x.Find("sklearn.svm.SVC"); c == nil || err != nil {
			b.Fatal(err)
		}
	}
}
