package keys

import (
	"strings"
	"testing"
)

func line(t testing.TB, name, key string, may Scopes) string {
	t.Helper()
	l, err := Line(name, key, may)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A list finds the keys whose lines it has, and no others. It has no key itself.
func TestAListFindsItsKeys(t *testing.T) {
	first, second, other := New(), New(), New()
	text := "# callers\n\n" + line(t, "mobile", first, Predict|Metrics) + "\r\n  " + line(t, "mobile", second, Explain) + "\n"
	if strings.Contains(text, Prefix) {
		t.Error("the list has a key")
	}
	l, err := Read([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]Scopes{first: Predict | Metrics, second: Explain} {
		if k := l.Find(key); k == nil || k.Name != "mobile" || k.Scopes != want {
			t.Errorf("%+v, want the scopes %s", k, want)
		}
	}
	for _, key := range []string{other, "", first + " ", strings.ToUpper(first), strings.Fields(text)[3]} {
		if k := l.Find(key); k != nil {
			t.Errorf("%q is the key of %s", key, k.Name)
		}
	}
	if (*List)(nil).Find(first) != nil {
		t.Error("no list has a key")
	}
}

// What is wrong with a list is said by line, and nothing of the line is repeated: it may be a key.
func TestListsThatAreNone(t *testing.T) {
	good := line(t, "a", "k", Predict)
	hash := strings.Fields(good)[1]
	for text, want := range map[string]string{
		"tenon_0123":                      "wanted NAME",
		good + "\n" + good:                "line 2 of the list of keys: an earlier line has this key",
		"a b/c " + hash:                   "wanted the hash of a key",
		"a/b " + hash + " predict":        "wanted a name",
		"a " + hash[:20] + " predict":     "wanted the hash of a key",
		"a " + hash + "00 predict":        "wanted the hash of a key",
		"a md5:00 predict":                "wanted the hash of a key",
		"a " + hash + " predict,all":      "wanted scopes",
		"a " + hash + " ":                 "wanted NAME",
		"a " + hash + " predict, metrics": "wanted NAME",
	} {
		_, err := Read([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "tenon_") {
			t.Errorf("it repeats a key: %v", err)
		}
	}
	for name, ok := range map[string]bool{"mobile-app_2.x": true, "": false, "a b": false, "a\nb": false, "é": false, strings.Repeat("x", 65): false} {
		if _, err := Line(name, "k", Predict); (err == nil) != ok {
			t.Errorf("the name %q: %v", name, err)
		}
	}
	if _, err := Line("a", "k", 0); err == nil {
		t.Error("a caller may ask nothing")
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(line(f, "a", "k", All)))
	f.Add([]byte("# \n\x00 sha256: ,\xff"))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := Read(text)
		if err != nil {
			if len(err.Error()) > 300 {
				t.Errorf("a long error: %v", err)
			}
			return
		}
		l.Find("k")
	})
}
