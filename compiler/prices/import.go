package prices

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/money"
)

// columns are those of the catalogues of SkyPilot that are read. All but the last one are needed; other
// columns are not read.
var columns = []string{"InstanceType", "AcceleratorName", "AcceleratorCount", "vCPUs", "MemoryGiB", "Price", "SpotPrice", "Region", "AvailabilityZone"}

const optional = "AvailabilityZone"

// Limits of an import. A catalogue of all regions of a large cloud has about 100,000 rows.
const (
	mostRows   = 500_000
	mostFaults = 20 // that are listed
)

// Import says how to read a catalogue.
type Import struct {
	Path  string // for messages
	Query Query  // rows to read; others are not even checked
	Round bool   // round prices up to nine decimals, instead of refusing more
	// ByRow means that the text was made of a table, in which lines are unknown to the user.
	ByRow bool
}

// Imported counts what was left out of a catalogue, or changed.
type Imported struct {
	Unselected int `json:"unselected"` // by the query
	Typeless   int `json:"typeless"`   // they price an accelerator without an instance
	Priceless  int `json:"priceless"`  // with neither a price nor a spot price
	Rounded    int `json:"rounded"`    // prices
}

// A fault is a cell that cannot be read.
type fault struct {
	line, at int // both from 1; at is a byte of the line
	column   string
	err      error
}

// Read reads a catalogue in CSV. The error lists every faulty cell with its line and column.
func Read(text io.Reader, o Import) ([]Row, Imported, error) {
	r := bufio.NewReader(text)
	if bom, err := r.Peek(3); err == nil && string(bom) == "\ufeff" {
		_, _ = r.Discard(3)
	}
	c := csv.NewReader(r)
	c.ReuseRecord = true
	head, err := c.Read()
	if errors.Is(err, io.EOF) {
		return nil, Imported{}, fmt.Errorf("%s is empty", o.Path)
	}
	if err != nil {
		return nil, Imported{}, fmt.Errorf("%s: %w", o.Path, err)
	}
	at, err := places(head)
	if err != nil {
		return nil, Imported{}, fmt.Errorf("%s: %w", o.Path, err)
	}
	var rows []Row
	var n Imported
	var faults []fault
	seen := map[[3]string]seenRow{}
	for {
		record, err := c.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, n, fmt.Errorf("%s: %w", o.Path, err) // with the line and the column
		}
		cell := func(column string) string {
			if i := at[column]; i >= 0 {
				return strings.Clone(record[i])
			}
			return ""
		}
		row := Row{
			Type: cell("InstanceType"), Region: cell("Region"), Zone: cell("AvailabilityZone"), GPU: cell("AcceleratorName"), GPUs: cell("AcceleratorCount"),
			CPUs: cell("vCPUs"), Memory: cell("MemoryGiB"), Price: cell("Price"), Spot: cell("SpotPrice"),
		}
		selected, err := o.Query.Selects(row)
		switch {
		case err != nil:
			return nil, n, err
		case !selected:
			n.Unselected++
			continue
		case row.Type == "":
			n.Typeless++
			continue
		case row.Price == "" && row.Spot == "":
			n.Priceless++
			continue
		}
		column, err := row.normalize(o.Round, &n)
		if err == nil {
			column, err = row.check()
		}
		line, _ := c.FieldPos(0)
		if before, ok := seen[row.place()]; err == nil && ok {
			if before.row == row {
				continue
			}
			column, err = "InstanceType", fmt.Errorf("%s has another price or other resources in %s %d", row, o.unit(), o.number(before.line))
		}
		if err != nil {
			_, byteAt := c.FieldPos(max(at[column], 0))
			faults = append(faults, fault{line, byteAt, column, err})
			continue
		}
		if seen[row.place()] = (seenRow{row, line}); len(rows) == mostRows {
			return nil, n, fmt.Errorf("%s has more than %d rows: import only what you need, such as with --region", o.Path, mostRows)
		}
		rows = append(rows, row)
	}
	if len(faults) > 0 {
		return nil, n, o.explain(faults)
	}
	return rows, n, nil
}

type seenRow struct {
	row  Row
	line int
}

// places returns the index of each column, -1 for one that may be missing and is.
func places(head []string) (map[string]int, error) {
	at := map[string]int{}
	for _, name := range columns {
		at[name] = slices.Index(head, name)
		switch {
		case at[name] < 0 && name != optional:
			hint := diag.DidYouMean(name, head)
			if hint != "" {
				hint = ": " + hint
			}
			return nil, fmt.Errorf("it has no column %s%s; needed are %s", name, hint, strings.Join(columns[:len(columns)-1], ", "))
		case at[name] >= 0 && slices.Index(head[at[name]+1:], name) >= 0:
			return nil, fmt.Errorf("it has two columns %s", name)
		}
	}
	return at, nil
}

// normalize writes the numbers of a row in one form: 8.0 is 8, and 5e-05 is 0.00005.
func (r *Row) normalize(round bool, n *Imported) (column string, err error) {
	for _, c := range []struct {
		column string
		value  *string
	}{{"vCPUs", &r.CPUs}, {"MemoryGiB", &r.Memory}, {"AcceleratorCount", &r.GPUs}} {
		if *c.value == "" {
			continue
		}
		v, err := parse(*c.value)
		if err != nil {
			return c.column, err
		}
		*c.value = text(v)
	}
	for _, c := range []struct {
		column string
		value  *string
	}{{"Price", &r.Price}, {"SpotPrice", &r.Spot}} {
		if *c.value == "" {
			continue
		}
		a, err := amount(*c.value, round)
		if err != nil {
			return c.column, err
		}
		exact := text(big.NewRat(int64(a), int64(money.One)))
		if v, err := parse(*c.value); err == nil && text(v) != exact {
			n.Rounded++
		}
		*c.value = exact
	}
	return "", nil
}

// text returns a decimal with as many digits as it needs.
func text(v *big.Rat) string {
	digits, _ := v.FloatPrec() // exact, because v was a decimal
	return v.FloatString(digits)
}

// unit and number name a line: in a table it is a row, and the first one is below the header.
func (o Import) unit() string {
	if o.ByRow {
		return "row"
	}
	return "line"
}

func (o Import) number(line int) int {
	if o.ByRow {
		return line - 1
	}
	return line
}

// explain lists faults.
func (o Import) explain(faults []fault) error {
	var errs []error
	fine := false
	for i, f := range faults {
		fine = fine || errors.Is(f.err, errFine)
		if i == mostFaults {
			errs = append(errs, fmt.Errorf("and %d more", len(faults)-i))
		}
		if i >= mostFaults {
			continue
		}
		place := fmt.Sprintf("%s:%d:%d", o.Path, f.line, f.at)
		if o.ByRow {
			place = fmt.Sprintf("%s: row %d", o.Path, o.number(f.line))
		}
		errs = append(errs, fmt.Errorf("%s: %s: %w", place, f.column, f.err))
	}
	hint := "correct it, and import again"
	if fine {
		hint += "; --round rounds prices up to nine decimals"
	}
	return fmt.Errorf("nothing was imported:\n%w\n%s", errors.Join(errs...), hint)
}
