package prices

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
)

// An Ask is the instance that a pool names.
type Ask struct {
	Type, Region, Zone string
	Spot               bool
	Count              int64
}

// An UnknownError is an instance that no table prices.
type UnknownError struct {
	Field   string // "type", "region", "zone" or "spot"
	Message string
	Hint    string
}

func (e *UnknownError) Error() string { return e.Message + ": " + e.Hint }

// Instance returns what the instances of a pool have and cost, and the model of their GPUs. Without
// a zone it is the highest price of the zones: in which one an instance will run is not known. If no
// table has the price, the error is an [UnknownError].
func (f *File) Instance(ask Ask) (i *ir.Instance, currency, gpu string, err error) {
	var types, regions, zones []string
	var rows []Row
	var in *Table
	for t := range f.Tables {
		for _, r := range f.Tables[t].Rows {
			switch {
			case r.Type != ask.Type:
				types = append(types, r.Type)
			case r.Region != ask.Region:
				regions = append(regions, r.Region)
			case ask.Zone != "" && r.Zone != ask.Zone:
				zones = append(zones, r.Zone)
			default:
				rows, in = append(rows, r), &f.Tables[t]
			}
		}
	}
	switch {
	case len(f.Tables) == 0:
		return nil, "", "", &UnknownError{"type", fmt.Sprintf("there is no table with a price of %s", ask.Type), fmt.Sprintf("import one beside the system: `tenon prices import FILE` writes %s", Name)}
	case len(rows) > 0:
	case len(zones) > 0:
		return nil, "", "", unknown("zone", fmt.Sprintf("no table has a price of %s in the zone %s of %s", ask.Type, ask.Zone, ask.Region), ask.Zone, zones)
	case len(regions) > 0:
		return nil, "", "", unknown("region", fmt.Sprintf("no table has a price of %s in %s", ask.Type, ask.Region), ask.Region, regions)
	default:
		return nil, "", "", unknown("type", fmt.Sprintf("no table has a price of %s", ask.Type), ask.Type, types)
	}
	i = &ir.Instance{Type: ask.Type, Region: ask.Region, Zone: ask.Zone, Spot: ask.Spot, Count: ask.Count, Table: in.Info()}
	priced := false
	for n, r := range rows {
		one, err := r.has()
		if err != nil {
			return nil, "", "", err
		}
		if n > 0 && (one != i.Has || r.GPU != gpu) {
			return nil, "", "", &UnknownError{"type", fmt.Sprintf("zones of %s differ in what %s has", ask.Region, ask.Type), "name a zone: " + strings.Join(zonesOf(rows), ", ")}
		}
		i.Has, gpu = one, r.GPU
		price := r.Price
		if ask.Spot {
			price = r.Spot
		}
		if price == "" {
			continue
		}
		a, err := amount(price, false)
		if err != nil {
			return nil, "", "", err
		}
		i.Price, priced = max(i.Price, a), true
	}
	if !priced {
		kind, hint := "on demand", "set spot: true, or choose another type or region"
		if ask.Spot {
			kind, hint = "as a spot instance", "remove spot, or choose another type or region"
		}
		return nil, "", "", &UnknownError{"spot", fmt.Sprintf("the table %q has no price of %s in %s %s", in.Source, ask.Type, cmp.Or(ask.Zone, ask.Region), kind), hint}
	}
	return i, in.Currency, gpu, nil
}

func unknown(field, message, name string, candidates []string) error {
	slices.Sort(candidates)
	return &UnknownError{field, message, cmp.Or(diag.DidYouMean(name, slices.Compact(candidates)), "see `tenon prices`, or import a table that has it: `tenon prices import FILE`")}
}

func zonesOf(rows []Row) (zones []string) {
	for _, r := range rows {
		zones = append(zones, r.Zone)
	}
	return zones
}

// has returns what one instance has. Memory is rounded down to a byte, and cores to a thousandth.
func (r *Row) has() (h ir.InstanceHas, err error) {
	if h.MilliCPU, err = whole(r.CPUs, 1000); err != nil {
		return h, err
	}
	if h.Memory, err = whole(r.Memory, 1<<30); err != nil {
		return h, err
	}
	if r.GPUs == "" {
		return h, nil
	}
	n, err := parse(r.GPUs)
	if err == nil && !n.IsInt() {
		return h, &UnknownError{"type", fmt.Sprintf("%s has %s of a GPU", r, r.GPUs), "a pool consists of whole GPUs: choose another type"}
	}
	h.GPU, err = whole(r.GPUs, 1)
	return h, err
}
