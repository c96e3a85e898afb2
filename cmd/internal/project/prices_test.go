package project

import (
	"database/sql"
	"path/filepath"
	"testing"

	_ "github.com/duckdb/duckdb-go/v2" // writes the table
	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/prices"
)

// A table in Parquet is read as one in CSV. A fault is at its row, since it has no lines.
func TestPricesOfAParquetFile(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "system.cue"), "package shop\n")
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	table := func(name, price string) string {
		path := filepath.Join(dir, name)
		_, err := db.Exec(`COPY (SELECT 'g5.xlarge' AS InstanceType, 'A10G' AS AcceleratorName, 1.0::DOUBLE AS AcceleratorCount, 4.0::DOUBLE AS vCPUs,
			16.0::DOUBLE AS MemoryGiB, ` + price + ` AS Price, NULL::DOUBLE AS SpotPrice, 'us-east-1' AS Region) TO '` + path + `' (FORMAT parquet)`)
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	p := quiet(t, dir)
	defer p.set.SQL.Close()
	if _, err := p.ImportPrices(t.Context(), PriceImport{Path: table("vms.parquet", "1.006::DOUBLE"), Date: "2026-11-01", Currency: "USD"}); err != nil {
		t.Fatal(err)
	}
	found, err := p.Prices(prices.Query{})
	if err != nil {
		t.Fatal(err)
	}
	want := []prices.Found{{Row: prices.Row{Type: "g5.xlarge", Region: "us-east-1", GPU: "A10G", GPUs: "1", CPUs: "4", Memory: "16", Price: "1.006"}, Source: "vms", Date: "2026-11-01", Currency: "USD"}}
	if d := cmp.Diff(want, found.Rows); d != "" {
		t.Errorf("rows (-want +got):\n%s", d)
	}
	faulty := table("faulty.parquet", "-1::DOUBLE")
	_, err = p.ImportPrices(t.Context(), PriceImport{Path: faulty, Date: "2026-11-01", Currency: "USD"})
	if want := "nothing was imported:\n" + faulty + ": row 1: Price: \"-1.0\" is not a number such as 1.006\ncorrect it, and import again"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}
