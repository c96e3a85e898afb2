package host

import "testing"

// Programs of any Tenon, in containers too, and whoever is logged in at a terminal keep a host up.
func TestWhatKeepsAHostUp(t *testing.T) {
	for name, want := range map[string]bool{
		"tenon-run":                true,
		"/opt/tenon/bin/tenon-run": true,
		"/tenon/run":               true,
		"sshd: ml@pts/0":           true,
		"sshd-session: ml@pts/12":  true,
		"sshd: ml@notty":           false,
		"sshd: /usr/sbin/sshd -D":  false,
		"/usr/bin/run":             false,
		"":                         false,
	} {
		if got := keepsUp(name); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}
