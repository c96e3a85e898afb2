package ir_test

import (
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
)

func TestAddressesOverlapIfTheyMayBeTheSame(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"127.0.0.1", "127.0.0.1", true},
		{"127.0.0.1", "127.0.0.2", false},
		{"127.0.0.1", "::1", false},
		{"127.0.0.1", "::ffff:127.0.0.1", true},
		{"127.0.0.1", "10.0.0.1", false},
		{"0.0.0.0", "127.0.0.1", true},
		{"0.0.0.0", "::1", true},
		{"::", "127.0.0.2", true},
		{"0:0::0", "127.0.0.2", true},
		{"", "10.0.0.1", true},
		{"localhost", "127.0.0.1", true},
		{"localhost", "127.0.0.2", true},
		{"localhost", "::1", true},
		{"localhost", "10.0.0.1", false},
		{"LocalHost", "localhost", true},
		{"a.example", "b.example", true},
		{"a.example", "10.0.0.1", true},
	} {
		for _, pair := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
			a, b := &ir.Endpoint{Host: pair[0], Port: 80}, &ir.Endpoint{Host: pair[1], Port: 80}
			if got := a.Overlaps(b); got != c.want {
				t.Errorf("%q and %q on one port: overlap is %v, want %v", pair[0], pair[1], got, c.want)
			}
			if b.Port = 81; a.Overlaps(b) {
				t.Errorf("%q and %q on two ports overlap", pair[0], pair[1])
			}
		}
	}
	if (&ir.Endpoint{Port: 80}).Overlaps(nil) {
		t.Error("a service without an endpoint overlaps")
	}
}
