package project

import "testing"

func TestModuleName(t *testing.T) {
	for dir, want := range map[string]string{"/a/Churn Model": "churn-model", "/a/日本": "system", "/": "system", "/a/_x_1": "x_1"} {
		if got := moduleName(dir); got != want {
			t.Errorf("%s: %s, want %s", dir, got, want)
		}
	}
}
