package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/compiler/prices"
	"github.com/tenon-ml/tenon/planner/artifact"
)

func pricesCommand(a *app) *cobra.Command {
	var q prices.Query
	var dir string
	var asJSON, all bool
	c := &cobra.Command{
		Use: "prices", Short: "List and import what instances of clouds cost",
		Long: `Lists the rows of the tables of prices that were imported for a system. A pool names one
of them, and has its price and what it has:

  resources: gpus: tenon.#Pool & {instance: {type: "g5.xlarge", region: "us-east-1"}}

The tables are in tenon.prices beside the system: commit that file. tenon prices import
reads the catalogues of SkyPilot and tables like them.`,
		Example: "  tenon prices import vms.csv --source 'SkyPilot aws' --date 2026-11-01 --region us-east-1\n  tenon prices --type 'g5.*' --region us-east\n  tenon prices --gpu H100 --json",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &usageError{fmt.Errorf("unknown command %q for tenon prices; see tenon prices --help", args[0])}
			}
			return nil
		},
		RunE: func(*cobra.Command, []string) error {
			p, err := a.project(dir)
			if err != nil {
				return err
			}
			found, err := p.Prices(q)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(found)
			}
			return a.printPrices(found, all)
		},
	}
	systemFlag(c, &dir)
	queryFlags(c, &q)
	c.Flags().BoolVar(&all, "all", false, fmt.Sprintf("list all rows, not only the first %d", mostPrices))
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.AddCommand(pricesImportCommand(a), pricesRemoveCommand(a))
	return c
}

func systemFlag(c *cobra.Command, dir *string) {
	c.Flags().StringVarP(dir, "dir", "C", ".", "the system's `FOLDER`")
}

func queryFlags(c *cobra.Command, q *prices.Query) {
	c.Flags().StringVar(&q.Type, "type", "", "only instance types with this `TEXT` in their name, or that match a pattern such as 'g5.*'")
	c.Flags().StringVar(&q.Region, "region", "", "only regions with this `TEXT` in their name, or that match a pattern")
	c.Flags().StringVar(&q.GPU, "gpu", "", "only instances with this `MODEL` of GPU")
}

func pricesImportCommand(a *app) *cobra.Command {
	var dir string
	var asJSON, instances bool
	o := project.PriceImport{Currency: "USD"}
	c := &cobra.Command{
		Use: "import FILE | --common | --common-rates", Short: "Import a table of prices in CSV or Parquet",
		Long: `Reads a table with the columns InstanceType, AcceleratorName, AcceleratorCount, vCPUs,
MemoryGiB, Price, SpotPrice, Region and, if it has one, AvailabilityZone: the format of
SkyPilot's catalogues. Prices are per hour. It is kept in tenon.prices beside the system,
in place of the table of the same source.

A table with the columns Cloud, Region, Rate and Price has rates instead: Cloud is the
executor of a target, aws or gcp, and Rate is storage, for 1 GiB and month, or egress, for
1 GiB that leaves the cloud.

--common imports a small table that Tenon comes with instead: common instance types of AWS
in us-east-1, and --common-rates a few rates. Both have a source and a date of their own.

A row that cannot be read exactly is an error with its line and column, and nothing is
imported. Rows without an instance type, or without any price, are left out and counted.`,
		Example: "  tenon prices import vms.csv --source 'SkyPilot aws' --date 2026-11-01\n  tenon prices import prices.parquet --region europe --type 'n2-*'\n  tenon prices import --common",
		Args: func(c *cobra.Command, args []string) error {
			common := instances || o.Rates
			switch {
			case instances && o.Rates:
				return &usageError{errors.New("--common and --common-rates are two tables: import one after the other")}
			case common && len(args) == 0:
				own := "--common"
				if o.Rates {
					own = "--common-rates"
				}
				for _, name := range []string{"source", "date", "currency", "round"} {
					if c.Flags().Changed(name) {
						return &usageError{fmt.Errorf("%s has its own source and prices: remove --%s", own, name)}
					}
				}
			case common || len(args) != 1 || args[0] == "":
				return &usageError{errors.New("tenon prices import takes one file, or --common; see tenon prices import --help")}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			o.Path = strings.Join(args, "") // none with --common
			p, err := a.project(dir)
			if err != nil {
				return err
			}
			r, err := p.ImportPrices(c.Context(), o)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(r)
			}
			return a.printImported(r)
		},
	}
	systemFlag(c, &dir)
	queryFlags(c, &o.Query)
	c.Flags().StringVar(&o.Source, "source", "", "`NAME` of the source, which plans show (default: the name of the file)")
	c.Flags().StringVar(&o.Date, "date", "", "`DATE` of the prices (default: when the file was last changed)")
	c.Flags().StringVar(&o.Currency, "currency", o.Currency, "`CURRENCY` of the prices")
	c.Flags().BoolVar(&instances, "common", false, "import the small table of instances that Tenon comes with")
	c.Flags().BoolVar(&o.Rates, "common-rates", false, "import the few rates that Tenon comes with")
	c.Flags().BoolVar(&o.Round, "round", false, "round prices with more than nine decimals up, instead of refusing them")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func pricesRemoveCommand(a *app) *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: "remove SOURCE", Short: "Remove the table of a source",
		Example: "  tenon prices remove 'SkyPilot aws'",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return &usageError{errors.New("tenon prices remove takes the name of a source; see tenon prices")}
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := a.project(dir)
			if err != nil {
				return err
			}
			if err := p.RemovePrices(args[0]); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.stdout, "Removed the prices of %s.\n", args[0])
			return err
		},
	}
	systemFlag(c, &dir)
	return c
}

// mostPrices is how many rows are listed by default.
const mostPrices = 50

func (a *app) printPrices(p *project.Prices, all bool) error {
	if len(p.Tables) == 0 {
		_, err := fmt.Fprintln(a.stdout, "No prices were imported yet: see tenon prices import --help.")
		return err
	}
	if len(p.Rows) == 0 && len(p.Rates) == 0 {
		fmt.Fprintln(a.stdout, "No row was found.")
	} else if len(p.Rows) > 0 {
		t := table(a.stdout)
		fmt.Fprintln(t, "TYPE\tREGION\tZONE\tGPUS\tCPUS\tGIB\tPRICE/H\tSPOT/H\tSOURCE")
		for i, r := range p.Rows {
			if i == mostPrices && !all {
				break
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Type, r.Region, orDash(r.Zone), orDash(strings.TrimSpace(r.GPUs+" "+r.GPU)), orDash(r.CPUs), orDash(r.Memory),
				priceText(r.Price, r.Currency), priceText(r.Spot, r.Currency), r.Source)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if more := len(p.Rows) - mostPrices; more > 0 && !all {
		fmt.Fprintf(a.stdout, "%s: --all lists them, --type and --region select.\n", plural(int64(more), "more row"))
	}
	if err := a.printRates(p.Rates, len(p.Rows) > 0); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout)
	for _, t := range p.Tables {
		fmt.Fprintf(a.stdout, "%s: prices of %s, %s, %s.\n", t.Source, t.Date, plural(int64(t.Rows), "row"), artifact.Short(t.Digest))
	}
	return nil
}

// rateUnits are what the price of a rate is for.
var rateUnits = map[string]string{prices.Storage: "GiB-month", prices.Egress: "GiB"}

func (a *app) printRates(rates []project.FoundRate, more bool) error {
	if len(rates) == 0 {
		return nil
	}
	if more {
		fmt.Fprintln(a.stdout)
	}
	t := table(a.stdout)
	fmt.Fprintln(t, "RATE\tCLOUD\tREGION\tPRICE\tSOURCE")
	for _, r := range rates {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s/%s\t%s\n", r.Rate.Rate, r.Cloud, r.Region, priceText(r.Price, r.Currency), rateUnits[r.Rate.Rate], r.Source)
	}
	return t.Flush()
}

func priceText(amount, currency string) string {
	if amount == "" {
		return "-"
	}
	return amount + " " + currency
}

func (a *app) printImported(r *project.ImportedPrices) error {
	verb := "Imported"
	if r.Replaced {
		verb = "Replaced"
	}
	fmt.Fprintf(a.stdout, "%s %s: prices of %s, %s, %s.\n", verb, r.Source, r.Date, plural(int64(r.Rows), "row"), artifact.Short(r.Digest))
	var left []string
	for _, l := range []struct {
		n   int
		why string
	}{{r.Unselected, "not selected"}, {r.Typeless, "without an instance type"}, {r.Priceless, "without a price"}} {
		if l.n > 0 {
			left = append(left, fmt.Sprintf("%d %s", l.n, l.why))
		}
	}
	if len(left) > 0 {
		fmt.Fprintf(a.stdout, "Left out: %s.\n", strings.Join(left, ", "))
	}
	if r.Rounded > 0 {
		fmt.Fprintf(a.stdout, "Rounded up to nine decimals: %s.\n", plural(int64(r.Rounded), "price"))
	}
	_, err := fmt.Fprintf(a.stdout, "They are in %s: commit it with the system.\n", r.Path)
	return err
}
