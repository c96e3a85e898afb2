package prices_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/compiler/prices"
	"github.com/tenon-ml/tenon/internal/money"
)

const head = "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,AvailabilityZone\n"

func read(t *testing.T, text string, o prices.Import) ([]prices.Row, prices.Imported) {
	t.Helper()
	o.Path = "vms.csv"
	rows, n, err := prices.Read(strings.NewReader(text), o)
	if err != nil {
		t.Fatal(err)
	}
	return rows, n
}

func TestNumbersOfACatalogueAreReadExactly(t *testing.T) {
	rows, n := read(t, "\ufeff"+head+
		"g5.xlarge,A10G,1.0,4.0,16.0,\"{'Name': 'A10G'}\",1.006,0.3526,us-east-1,us-east-1a\n"+
		"g5.xlarge,A10G,1.0,4.0,16.0,\"{'Name': 'A10G'}\",1.006,0.3526,us-east-1,us-east-1a\n"+ // again
		"t4g.nano,,,2,0.5,,5e-05,,us-east-1,us-east-1a\n"+
		",TPU-v4,1,,,,3.22,,us-east-1,\n"+
		"m5.large,,,2,8,,,,us-east-1,us-east-1b\n", prices.Import{})
	want := []prices.Row{
		{Type: "g5.xlarge", Region: "us-east-1", Zone: "us-east-1a", GPU: "A10G", GPUs: "1", CPUs: "4", Memory: "16", Price: "1.006", Spot: "0.3526"},
		{Type: "t4g.nano", Region: "us-east-1", Zone: "us-east-1a", CPUs: "2", Memory: "0.5", Price: "0.00005"},
	}
	if d := cmp.Diff(want, rows); d != "" {
		t.Errorf("rows (-want +got):\n%s", d)
	}
	if n != (prices.Imported{Typeless: 1, Priceless: 1}) {
		t.Errorf("left out: %+v", n)
	}
	if rows, n = read(t, head+"a,,,1,1,,0.12345678901,1,r,\n", prices.Import{Round: true}); rows[0].Price != "0.123456790" && rows[0].Price != "0.12345679" || n.Rounded != 1 {
		t.Errorf("rounded: %+v, %+v", rows, n)
	}
	if rows, n = read(t, head+"a1,,,1,1,,1,1,r,\nb1,,,x,1,,1,1,r,\nb2,,,1,1,,1,1,s,\n", prices.Import{Query: prices.Query{Type: "A*", Region: "R"}}); len(rows) != 1 || n.Unselected != 2 {
		t.Errorf("selected: %+v, %+v", rows, n)
	}
}

func TestEveryFaultyRowIsReported(t *testing.T) {
	const rows = "a,,,1,1,,free,1,r,\n" +
		"b,,,1,-1,,1,1,r,\n" +
		"c,,,1,1,,1,1,,\n" +
		"d,T4,,1,1,,1,1,r,\n" +
		"e,,,1,1,,0.1234567890123,1,r,\n" +
		"f,,,1,1,,1,1,r,z\n" +
		"f,,,1,1,,2,1,r,z\n" +
		"g,,,1,1,,1e99,1,r,\n" +
		"h,,,NaN,1,,1,1,r,\n"
	for byRow, want := range map[bool]string{false: `nothing was imported:
vms.csv:2:10: Price: "free" is not a number such as 1.006
vms.csv:3:7: MemoryGiB: "-1" is not a number such as 1.006
vms.csv:4:14: Region: it is empty
vms.csv:5:6: AcceleratorCount: AcceleratorName is "T4", and AcceleratorCount is "": both or neither are needed
vms.csv:6:10: Price: 0.1234567890123 has more than nine decimals
vms.csv:8:1: InstanceType: f in z has another price or other resources in line 7
vms.csv:9:10: Price: 1e99 is too large for a price
vms.csv:10:5: vCPUs: "NaN" is not a number such as 1.006
correct it, and import again; --round rounds prices up to nine decimals`, true: `nothing was imported:
vms.csv: row 1: Price: "free" is not a number such as 1.006
`} {
		_, _, err := prices.Read(strings.NewReader(head+rows), prices.Import{Path: "vms.csv", ByRow: byRow})
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("by row %t:\n%v\nwant:\n%s", byRow, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                     "vms.csv is empty",
		"InstanceType,Price\n": `vms.csv: it has no column AcceleratorName: `,
		strings.Replace(head, "Price,", "price,", 1): `vms.csv: it has no column Price: did you mean "price"?; needed are InstanceType, `,
		"Price," + head:  "vms.csv: it has two columns Price",
		head + "a,b\n":   "vms.csv: record on line 2: wrong number of fields",
		head + "a,\"b\n": "vms.csv: ",
	} {
		if _, _, err := prices.Read(strings.NewReader(text), prices.Import{Path: "vms.csv"}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// catalogue opens the file in a new folder and adds a table of these rows.
func catalogue(t *testing.T, rows string) *prices.File {
	t.Helper()
	f, err := prices.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	put(t, f, "aws", rows)
	return f
}

func put(t *testing.T, f *prices.File, source, rows string) {
	t.Helper()
	r, _ := read(t, head+rows, prices.Import{})
	if err := f.Put(&prices.Table{Source: source, Date: "2026-11-01", Currency: "USD", Rows: r}); err != nil {
		t.Fatal(err)
	}
}

const clouds = "g5.xlarge,A10G,1,4,16,,1.006,0.35,us-east-1,us-east-1a\n" +
	"g5.xlarge,A10G,1,4,16,,1.006,0.36,us-east-1,us-east-1b\n" +
	"g5.xlarge,A10G,1,4,16,,1.2,,eu-west-1,\n" +
	"m5.large,,,2,8,,0.096,,us-east-1,\n" +
	"g6f.large,L4,0.125,2,8,,0.2,,us-east-1,\n"

func TestAnInstanceHasThePriceOfItsRow(t *testing.T) {
	f := catalogue(t, clouds)
	for name, c := range map[string]struct {
		ask   prices.Ask
		price money.Amount
		err   string
	}{
		"on demand":                      {prices.Ask{Type: "g5.xlarge", Region: "us-east-1"}, 1006 * money.One / 1000, ""},
		"spot, the highest of the zones": {prices.Ask{Type: "g5.xlarge", Region: "us-east-1", Spot: true}, 36 * money.One / 100, ""},
		"spot in a zone":                 {prices.Ask{Type: "g5.xlarge", Region: "us-east-1", Zone: "us-east-1a", Spot: true}, 35 * money.One / 100, ""},
		"no spot price":                  {prices.Ask{Type: "g5.xlarge", Region: "eu-west-1", Spot: true}, 0, `the table "aws" has no price of g5.xlarge in eu-west-1 as a spot instance: remove spot, or choose another type or region`},
		"misspelt type":                  {prices.Ask{Type: "g5.xlrage", Region: "us-east-1"}, 0, `no table has a price of g5.xlrage: did you mean "g5.xlarge"?`},
		"misspelt region":                {prices.Ask{Type: "g5.xlarge", Region: "us-east1"}, 0, `no table has a price of g5.xlarge in us-east1: did you mean "us-east-1"?`},
		"unknown zone":                   {prices.Ask{Type: "g5.xlarge", Region: "us-east-1", Zone: "x"}, 0, `no table has a price of g5.xlarge in the zone x of us-east-1: available: us-east-1a, us-east-1b`},
		"part of a GPU":                  {prices.Ask{Type: "g6f.large", Region: "us-east-1"}, 0, `g6f.large in us-east-1 has 0.125 of a GPU: a pool consists of whole GPUs: choose another type`},
	} {
		i, currency, _, err := f.Instance(c.ask)
		switch {
		case c.err != "":
			var unknown *prices.UnknownError
			if err == nil || err.Error() != c.err || !errors.As(err, &unknown) {
				t.Errorf("%s: %v, want %s", name, err, c.err)
			}
		case err != nil || i.Price != c.price || currency != "USD" || i.Table.Source != "aws" || i.Has != (ir.InstanceHas{MilliCPU: 4000, Memory: 16 << 30, GPU: 1}):
			t.Errorf("%s: %+v, %v", name, i, err)
		}
	}
	none, err := prices.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := none.Instance(prices.Ask{Type: "a"}); err == nil || !strings.Contains(err.Error(), "tenon prices import") {
		t.Errorf("without tables: %v", err)
	}
}

func TestATypeOfARegionIsInOneTable(t *testing.T) {
	f := catalogue(t, clouds)
	other, _ := read(t, head+"m5.large,,,2,8,,0.1,,us-east-1,\n", prices.Import{})
	err := f.Put(&prices.Table{Source: "other", Date: "2026-11-01", Currency: "USD", Rows: other})
	if err == nil || !strings.Contains(err.Error(), `m5.large in us-east-1 has a price in the tables "aws" and "other"`) {
		t.Errorf("put: %v", err)
	}
	put(t, f, "aws", "m5.large,,,2,8,,0.1,,us-east-1,\n")
	if len(f.Tables) != 1 || len(f.Tables[0].Rows) != 1 {
		t.Errorf("replaced: %+v", f.Tables)
	}
	if err := f.Remove("gws"); err == nil || !strings.Contains(err.Error(), `did you mean "aws"?`) {
		t.Errorf("remove: %v", err)
	}
	if err := f.Remove("aws"); err != nil || len(f.Tables) != 0 {
		t.Errorf("remove: %v, %+v", err, f.Tables)
	}
	for _, bad := range []prices.Table{{Source: " ", Date: "2026-11-01", Currency: "USD"}, {Source: "a", Date: "1.11.2026", Currency: "USD"}, {Source: "a", Date: "2026-11-01", Currency: "dollar"}} {
		if err := f.Put(&bad); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

// What is written is read again, with the same digest, however the rows were ordered.
func TestTablesAreReadAsTheyWereWritten(t *testing.T) {
	dir := t.TempDir()
	number := rapid.StringMatching(`[1-9][0-9]{0,3}(\.[0-9]{0,3}[1-9])?`)
	rapid.Check(t, func(t *rapid.T) {
		types := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z"<&é][a-z0-9.,]{0,6}`), 1, 6, rapid.ID[string]).Draw(t, "types")
		var rows []prices.Row
		for _, name := range types {
			rows = append(rows, prices.Row{Type: name, Region: "r", CPUs: number.Draw(t, "cpus"), Memory: number.Draw(t, "memory"), Price: number.Draw(t, "price")})
		}
		f, err := prices.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		a, b := prices.Table{Source: "s", Date: "2026-11-01", Currency: "USD", Rows: rows}, prices.Table{}
		if err := errors.Join(f.Put(&a), f.Write()); err != nil {
			t.Fatal(err)
		}
		g, err := prices.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		b = g.Tables[0]
		if d := cmp.Diff(a.Rows, b.Rows); d != "" || a.Info() != b.Info() || a.Info().Digest == "" {
			t.Fatalf("digests %s and %s, rows (-written +read):\n%s", a.Info().Digest, b.Info().Digest, d)
		}
	})
}

func TestADamagedFileIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"{":                            "is damaged",
		`{"version": 2, "tables": []}`: "has version 2",
		`{"version": 1, "tables": [{"source": "a", "date": "2026-11-01", "currency": "USD", "rows": [{"type": "x", "region": "r", "price": "-1"}]}]}`:                                            `the table "a": Price of x in r: "-1" is not a number`,
		`{"version": 1, "tables": [{"source": "a", "date": "2026-11-01", "currency": "USD", "rows": [{"type": "x", "region": "r", "price": "1"}, {"type": "x", "region": "r", "price": "2"}]}]}`: "x in r has two prices",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, prices.Name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := prices.Open(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// What Tenon comes with can be imported, and every type of it can be a pool.
func TestTheCommonTableCanBeUsed(t *testing.T) {
	rows, n := read(t, string(prices.Common), prices.Import{})
	f, err := prices.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Put(&prices.Table{Source: prices.CommonSource, Date: prices.CommonDate, Currency: "USD", Rows: rows}); err != nil || n != (prices.Imported{}) {
		t.Fatalf("left out %+v, %v", n, err)
	}
	for _, r := range rows {
		if i, _, _, err := f.Instance(prices.Ask{Type: r.Type, Region: r.Region}); err != nil || i.Price == 0 || i.Has.MilliCPU == 0 || i.Has.Memory == 0 {
			t.Errorf("%s: %+v, %v", r, i, err)
		}
	}
}

// Whatever a catalogue says, it is read or refused, and what is read can be kept.
func FuzzRead(f *testing.F) {
	f.Add(head+clouds, false)
	f.Add(head+"a,,,1,1,,0.12345678901,1e-3,r,\n", true)
	f.Fuzz(func(t *testing.T, text string, round bool) {
		rows, _, err := prices.Read(strings.NewReader(text), prices.Import{Path: "x", Round: round})
		if err != nil {
			return
		}
		if err := (&prices.File{}).Put(&prices.Table{Source: "s", Date: "2026-11-01", Currency: "USD", Rows: rows}); err != nil {
			t.Errorf("rows that were read are refused: %v", err)
		}
	})
}
