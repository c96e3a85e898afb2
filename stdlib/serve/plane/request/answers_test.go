package request_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
)

// A reply is a text and the errors that the service in Python answers, each of which is its
// type, its place and its message.
type reply struct {
	text   string
	errors [][3]any
}

func (r *reply) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[2]any{&r.text, &r.errors})
}

// The decoder says of every value and body what the service in Python says of it, see
// stdlib/serve/http/test_request_values.py.
func TestAnswersAreThoseOfPython(t *testing.T) {
	b, err := os.ReadFile("_testdata/answers.json")
	if err != nil {
		t.Fatal(err)
	}
	var kept struct {
		Values []struct {
			Column  ir.Column
			Answers []reply
		}
		Columns ir.Schema
		Bodies  []reply
	}
	if err := json.Unmarshal(b, &kept); err != nil {
		t.Fatal(err)
	}
	n := 0
	compare := func(columns ir.Schema, body string, want [][3]any) {
		t.Helper()
		n++
		var rows request.Rows
		var got [][3]any
		for _, e := range decoder(t, 2, columns...).Decode([]byte(body), &rows) {
			msg := e.Msg
			if strings.HasPrefix(msg, "the body is no JSON") {
				msg = "the body is no JSON" // says what else it wanted in other words
			}
			if strings.Contains(msg, "base64") {
				msg = "base64"
			}
			got = append(got, [3]any{e.Type, e.Loc, msg})
		}
		if a, b := shown(t, got), shown(t, want); a != b {
			t.Errorf("%v: %.200q\ngot  %.600s\nwant %.600s", columns, body, a, b)
		}
	}
	for _, v := range kept.Values {
		v.Column.Name = "x"
		for _, a := range v.Answers {
			compare(ir.Schema{v.Column}, `{"instances": [{"x": `+a.text+`}]}`, a.errors)
		}
	}
	for _, a := range kept.Bodies {
		compare(kept.Columns, a.text, a.errors)
	}
	if n < 1300 {
		t.Errorf("only %d answers", n)
	}
}

func shown(t *testing.T, v [][3]any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
