package lambda

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/release"
)

// Requests that do not ask the model do not count, and the others count with their status.
func TestAnInstanceCountsWhatItAnswers(t *testing.T) {
	for url, failed := range map[string]int64{"/predict": 0, "/predict?fails": 1} {
		var out bytes.Buffer
		c := &counted{
			http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.RawQuery == "fails" {
					w.WriteHeader(http.StatusInternalServerError)
				}
			}),
			func(r *http.Request) bool { return r.URL.Path == "/predict" }, release.NewPrinted(&out, ""),
		}
		for _, url := range []string{"/readyz", url, "/readyz"} {
			c.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, url, nil))
		}
		n, is := release.ReadCount(strings.TrimSuffix(out.String(), "\n"))
		if !is || n.Requests != 1 || n.Failed != failed {
			t.Errorf("%s: it printed %s", url, out.String())
		}
	}
}
