package ir_test

import (
	"encoding/json"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
)

func TestBoundsOfTimes(t *testing.T) {
	for _, tt := range []struct {
		typ, text string
		want      ir.Bound
	}{
		{"date", "2024-07-01", "2024-07-01"},
		{"date", "2024-07-01 12:00", ""},
		{"date", "2024-02-30", ""},
		{"date", "0000-01-01", ""},
		{"timestamp", "2024-07-01", "2024-07-01T00:00:00"},
		{"timestamp", "2024-07-01 12:30", "2024-07-01T12:30:00"},
		{"timestamp", "2024-07-01T12:30:00.5", "2024-07-01T12:30:00.500000"},
		{"timestamp", "2024-07-01 12:30:00.0000001", ""},
		{"timestamp", "2024-07-01T12:30:00Z", ""},
		{"timestamptz", "2024-07-01", "2024-07-01T00:00:00Z"},
		{"timestamptz", "2024-07-01T12:30:00+02:00", "2024-07-01T10:30:00Z"},
		{"timestamptz", "tomorrow", ""},
		{"int64", "2024-07-01", ""},
		{"time", "12:30:00", ""},
	} {
		if got, ok := ir.TimeBound(tt.typ, tt.text); got != tt.want || ok != (tt.want != "") {
			t.Errorf("%s %q: got %q, %v, want %q", tt.typ, tt.text, got, ok, tt.want)
		}
	}
}

func TestBoundsInJSON(t *testing.T) {
	for _, tt := range []struct {
		bound ir.Bound
		want  string
	}{
		{"0.1", `{"name":"c","type":"t","min":0.1}`}, {"-1e30", `{"name":"c","type":"t","min":-1e30}`},
		{"2024-07-01", `{"name":"c","type":"t","min":"2024-07-01"}`}, {"", `{"name":"c","type":"t"}`},
	} {
		b, err := json.Marshal(ir.Column{Name: "c", Type: "t", Min: tt.bound})
		if err != nil || string(b) != tt.want {
			t.Errorf("%q: got %s, %v", tt.bound, b, err)
		}
		var back ir.Column
		if err := json.Unmarshal(b, &back); err != nil || back.Min != tt.bound {
			t.Errorf("%s: got %q, %v", b, back.Min, err)
		}
	}
}

func TestCompareBounds(t *testing.T) {
	for _, tt := range []struct {
		a, b ir.Bound
		want int
		ok   bool
	}{
		{"1", "1.0", 0, true}, {"-2", "1e3", -1, true}, {"2024-07-01", "2024-07-01T00:00:00", 0, true},
		{"2024-07-01T00:00:00.500000Z", "2024-07-01T00:00:00Z", 1, true}, {"1", "2024-07-01", 0, false}, {"", "1", 0, false},
	} {
		if got, ok := tt.a.Compare(tt.b); ok != tt.ok || ok && got != tt.want {
			t.Errorf("%s, %s: got %d, %v", tt.a, tt.b, got, ok)
		}
	}
}
