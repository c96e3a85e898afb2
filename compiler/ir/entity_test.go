package ir

import "testing"

func TestAnEntityNamesFieldsAsTheirUserWroteThem(t *testing.T) {
	e := Entity{
		Pos:    Pos{"late.cue", 7, 2},
		Places: PlacesOf(map[string]string{"test": "late.cue:9:3", "test.fraction": "late.cue:9:9", "schema.age": "late.cue:12:3"}),
		Outputs: []EntityOutput{
			{Port: "out", Unit: "models/late/train", Schema: "schema"},
			{Port: "api", Unit: "models/late/train"},
		},
		Stages: []Stage{
			{Unit: "models/late/split", Fields: map[string]string{"fraction": "test.fraction", "seed": ""}},
			{Unit: "models/late/train", Fields: map[string]string{"endpoint.port": "port"}},
		},
	}
	for _, c := range []struct{ unit, part, field, place string }{
		{"split", "params.fraction", "test.fraction", "late.cue:9:9"},
		{"split", "params.fraction.of[0]", "test.fraction.of[0]", "late.cue:9:9"},
		{"split", "params.seed", "", ""},
		{"train", "params.params.depth", "params.depth", "late.cue:7:2"},
		{"train", "params.fraction", "fraction", "late.cue:7:2"},
		{"train", "endpoint.port", "port", "late.cue:7:2"},
		{"train", "output out column age.max", "schema.age.max", "late.cue:12:3"},
		{"train", "output api request column age.unit", "request.age.unit", "late.cue:7:2"},
		{"train", "output api column age", "", ""},
		{"split", "output out column age.max", "", ""},
		{"train", "output out keys", "", ""},
		{"train", "lock", "", ""},
		{"gone", "params.fraction", "", ""},
	} {
		field := e.Field("models/late/"+c.unit, c.part)
		if field != c.field {
			t.Errorf("%s of %s is the field %q, want %q", c.part, c.unit, field, c.field)
		}
		if field != "" && e.Place(field) != c.place {
			t.Errorf("%s is at %s, want %s", field, e.Place(field), c.place)
		}
	}
}

func TestPathsAreWrittenAsInCUE(t *testing.T) {
	for _, c := range []struct{ path, field, want string }{
		{"", "test", "test"}, {"test", "fraction", "test.fraction"}, {"slices", "1g", `slices."1g"`}, {"", "a b", `"a b"`}, {"x", "", `x.""`},
	} {
		if got := JoinPath(c.path, c.field); got != c.want {
			t.Errorf("%q below %q is %s, want %s", c.field, c.path, got, c.want)
		}
	}
}
