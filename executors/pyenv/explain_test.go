package pyenv

import "testing"

func TestExplain(t *testing.T) {
	for said, want := range map[string]string{
		"": "",
		"Using Python 3.11\nerror: No solution found when resolving dependencies\n  cause: Because you want\n         both\n":   "the requirements conflict: Because you want both",
		"  × No solution found when resolving dependencies:\n  ╰─▶ Because a>1 and\n      b<1, no.\n":                           "the requirements conflict: Because a>1 and b<1, no.",
		"error: Failed to fetch: `https://x/simple/six/`\n  Caused by: error sending request for url\n  Caused by: dns error\n": "cannot reach the package index: Failed to fetch: `https://x/simple/six/`: error sending request for url: dns error",
		"warning: x\nerror: something else\n": "something else",
	} {
		if got := explain(said); got != want {
			t.Errorf("explain(%q)\n got %q\nwant %q", said, got, want)
		}
	}
}
