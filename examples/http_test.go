package examples_test

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

func TestADownloadIsPinned(t *testing.T) {
	data := "id;amount\n1;2,5\n2;4,0\n"
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(data)) }))
	defer srv.Close()
	s := &system{t: t, dir: t.TempDir()}
	text := fmt.Sprintf(`package download

import (
	"tenon.dev/col"
	"tenon.dev/feature"
	"tenon.dev/source"
	"tenon.dev/tenon"
)

tenon.#System
name: "download"

sources: orders: source.#HTTP & {
	url:    "%s/orders.csv"
	sha256: "%x"
	format: "csv"
	csv: {delimiter: ";", decimal: ","}
	schema: {id: col.#Int64 & {unique: true}, amount: col.#Float64 & {min: 0}}
}
features: total: feature.#SQL & {
	in: o: sources.orders.out
	sql: "SELECT sum(amount) AS total FROM o"
	schema: total: col.#Float64
}
`, srv.URL, sha256.Sum256([]byte(data)))
	if err := os.WriteFile(filepath.Join(s.dir, "download.cue"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s.must("init")
	s.must("apply", "--yes")
	contains(t, s.must("show", "features/total", "--rows", "1"), "6.5")

	data = "id;amount\n1;9,9\n"
	out, err := s.run("apply", "--yes", "--rerun", "sources/orders")
	if err == nil {
		t.Fatal("another file than the pinned one was taken")
	}
	contains(t, out, "does not match its sha256", "depends on sources/orders")
	contains(t, s.must("show", "features/total", "--rows", "1"), "6.5")
}
