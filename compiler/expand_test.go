package compiler

import (
	"encoding/json"
	"strings"
	"testing"
)

// A parameter that a study searches is none of the model's own: the value that the model declares is not used, so it may
// neither be shown nor change a key.
func TestWithoutParam(t *testing.T) {
	const params = `{"args":{"depth":9007199254740993,"rate":0.1},"script":"a.py"}`
	for path, want := range map[string]string{
		"script":     `{"args":{"depth":9007199254740993,"rate":0.1}}`,
		"args.rate":  `{"args":{"depth":9007199254740993},"script":"a.py"}`,
		"args":       `{"script":"a.py"}`,
		"args.none":  params,
		"none.rate":  params,
		"script.any": params,
	} {
		if got := withoutParam(json.RawMessage(params), strings.Split(path, ".")); string(got) != want {
			t.Errorf("without %s: %s, want %s", path, got, want)
		}
	}
}
