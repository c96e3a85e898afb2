// Command check checks dashboards against the schema that Grafana publishes: the types of its Foundation
// SDK, which know the fields of the JSON model, of panels of each kind, and of queries. It is a module of
// its own, so that the SDK is no dependency of Tenon.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

func main() {
	known := cog.NewRuntime() // all kinds would take minutes to build
	known.RegisterDataqueryVariant(prometheus.VariantConfig())
	for _, kind := range []func() variants.PanelcfgConfig{timeseries.VariantConfig, stat.VariantConfig, statetimeline.VariantConfig} {
		known.RegisterPanelcfgVariant(kind())
	}
	failed := false
	for _, path := range os.Args[1:] {
		if err := check(path); err != nil {
			failed = true
			fmt.Fprintf(os.Stderr, "%s: %v\n", path, err)
		}
	}
	if failed || len(os.Args) == 1 {
		os.Exit(1)
	}
}

// check reads a dashboard, and refuses fields that the schema does not have and values that it does not
// permit.
func check(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var d dashboard.Dashboard
	if err := listed(d.UnmarshalJSONStrict(b)); err != nil {
		return err
	}
	if len(d.Panels) == 0 {
		return errors.New("it has no panels")
	}
	return listed(d.Validate())
}

// listed returns an error of the SDK unless it is a list without entries, which the SDK returns as well.
func listed(err error) error {
	if list := cog.BuildErrors(nil); errors.As(err, &list) && len(list) == 0 {
		return nil
	}
	return err
}
