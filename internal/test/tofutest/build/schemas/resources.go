package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// faulty returns an error as OpenTofu shows it.
func faulty(err error) []*tfprotov5.Diagnostic {
	if err == nil {
		return nil
	}
	return []*tfprotov5.Diagnostic{{Severity: tfprotov5.DiagnosticSeverityError, Summary: err.Error()}}
}

func (p *provider) GetProviderSchema(context.Context, *tfprotov5.GetProviderSchemaRequest) (*tfprotov5.GetProviderSchemaResponse, error) {
	return &tfprotov5.GetProviderSchemaResponse{
		Provider: &tfprotov5.Schema{Block: block(p.settings, nil)}, ResourceSchemas: p.schemas(false), DataSourceSchemas: p.schemas(true),
	}, nil
}

func (p *provider) GetResourceIdentitySchemas(context.Context, *tfprotov5.GetResourceIdentitySchemasRequest) (*tfprotov5.GetResourceIdentitySchemasResponse, error) {
	return &tfprotov5.GetResourceIdentitySchemasResponse{}, nil
}

func (p *provider) PrepareProviderConfig(_ context.Context, r *tfprotov5.PrepareProviderConfigRequest) (*tfprotov5.PrepareProviderConfigResponse, error) {
	return &tfprotov5.PrepareProviderConfigResponse{PreparedConfig: r.Config}, nil
}

func (p *provider) ConfigureProvider(_ context.Context, r *tfprotov5.ConfigureProviderRequest) (*tfprotov5.ConfigureProviderResponse, error) {
	all, err := attributes(r.Config, kind(p.settings))
	if err == nil {
		p.set, err = texts(all)
	}
	return &tfprotov5.ConfigureProviderResponse{Diagnostics: faulty(err)}, nil
}

func (p *provider) StopProvider(context.Context, *tfprotov5.StopProviderRequest) (*tfprotov5.StopProviderResponse, error) {
	return &tfprotov5.StopProviderResponse{}, nil
}

func (p *provider) ValidateResourceTypeConfig(context.Context, *tfprotov5.ValidateResourceTypeConfigRequest) (*tfprotov5.ValidateResourceTypeConfigResponse, error) {
	return &tfprotov5.ValidateResourceTypeConfigResponse{}, nil
}

func (p *provider) ValidateDataSourceConfig(context.Context, *tfprotov5.ValidateDataSourceConfigRequest) (*tfprotov5.ValidateDataSourceConfigResponse, error) {
	return &tfprotov5.ValidateDataSourceConfigResponse{}, nil
}

func (p *provider) UpgradeResourceState(_ context.Context, r *tfprotov5.UpgradeResourceStateRequest) (*tfprotov5.UpgradeResourceStateResponse, error) {
	k := kind(p.types[r.TypeName])
	v, err := r.RawState.Unmarshal(k)
	if err != nil {
		return &tfprotov5.UpgradeResourceStateResponse{Diagnostics: faulty(err)}, nil
	}
	d, err := tfprotov5.NewDynamicValue(k, v)
	return &tfprotov5.UpgradeResourceStateResponse{UpgradedState: &d, Diagnostics: faulty(err)}, nil
}

// ReadResource compares a resource with its file. What is equal keeps its kind, which a file lacks.
func (p *provider) ReadResource(_ context.Context, r *tfprotov5.ReadResourceRequest) (*tfprotov5.ReadResourceResponse, error) {
	state, err := p.read(r)
	return &tfprotov5.ReadResourceResponse{NewState: state, Private: r.Private, Diagnostics: faulty(err)}, nil
}

func (p *provider) read(r *tfprotov5.ReadResourceRequest) (*tfprotov5.DynamicValue, error) {
	k := kind(p.types[r.TypeName])
	all, err := attributes(r.CurrentState, k)
	if err != nil {
		return nil, err
	}
	set, err := texts(all)
	if err != nil {
		return nil, err
	}
	there, err := p.cloud.get(r.TypeName, fmt.Sprint(set["id"]))
	if err != nil || there == nil {
		gone, _ := dynamic(nil, k)
		return gone, err
	}
	for name := range all {
		if !equal(set[name], there.Values[name]) {
			if all[name], err = fit(there.Values[name], k.AttributeTypes[name]); err != nil {
				return nil, err
			}
		}
	}
	return dynamic(all, k)
}

func (p *provider) PlanResourceChange(_ context.Context, r *tfprotov5.PlanResourceChangeRequest) (*tfprotov5.PlanResourceChangeResponse, error) {
	out := &tfprotov5.PlanResourceChangeResponse{PlannedState: r.ProposedNewState, PlannedPrivate: r.PriorPrivate}
	if err := p.plan(r, out); err != nil {
		out.Diagnostics = faulty(err)
	}
	return out, nil
}

func (p *provider) plan(r *tfprotov5.PlanResourceChangeRequest, out *tfprotov5.PlanResourceChangeResponse) error {
	entries, known := p.types[r.TypeName], p.known(r.TypeName)
	k := kind(entries)
	prior, err := attributes(r.PriorState, k)
	if err != nil {
		return err
	}
	planned, err := attributes(r.ProposedNewState, k)
	if err != nil || planned == nil { // it is removed
		return err
	}
	if prior != nil {
		of, _ := known["id"].(string)
		for _, name := range names(of) {
			if v, ok := prior[name]; ok && !v.Equal(planned[name]) {
				out.RequiresReplace = append(out.RequiresReplace, tftypes.NewAttributePath().WithAttributeName(name))
			}
		}
		return nil
	}
	for name, e := range entries {
		if _, has := known[name]; (has || e.Computed) && planned[name].IsNull() {
			planned[name] = tftypes.NewValue(plainly, tftypes.UnknownValue)
		}
	}
	out.PlannedState, err = dynamic(planned, k)
	return err
}

func (p *provider) ApplyResourceChange(_ context.Context, r *tfprotov5.ApplyResourceChangeRequest) (*tfprotov5.ApplyResourceChangeResponse, error) {
	state, err := p.apply(r)
	if err != nil {
		state = r.PriorState
	}
	return &tfprotov5.ApplyResourceChangeResponse{NewState: state, Private: r.PlannedPrivate, Diagnostics: faulty(err)}, nil
}

func (p *provider) apply(r *tfprotov5.ApplyResourceChangeRequest) (*tfprotov5.DynamicValue, error) {
	k := kind(p.types[r.TypeName])
	prior, err := attributes(r.PriorState, k)
	if err != nil {
		return nil, err
	}
	planned, err := attributes(r.PlannedState, k)
	if err != nil {
		return nil, err
	}
	action, all := "update", planned
	switch {
	case planned == nil:
		action, all = "delete", prior
	case prior == nil:
		action = "create"
		if err := p.complete(r.TypeName, all); err != nil {
			return nil, err
		}
	}
	set, err := texts(all)
	if err != nil {
		return nil, err
	}
	if err := p.cloud.change(action, resource{Type: r.TypeName, ID: fmt.Sprint(set["id"]), Values: set}); err != nil {
		return nil, err
	}
	return dynamic(planned, k)
}

// complete gives a value to all attributes that have none yet. The id is the first, since others follow from it.
func (p *provider) complete(of string, all map[string]tftypes.Value) error {
	set, err := texts(all)
	if err != nil {
		return err
	}
	known := p.known(of)
	order := []string{"id"}
	for name := range known {
		if name != "id" {
			order = append(order, name)
		}
	}
	slices.Sort(order[1:])
	for _, name := range order {
		if v, ok := all[name]; ok && (v.IsNull() || !v.IsKnown()) {
			x := p.fill(known[name], of, set)
			if all[name], err = typed(x); err != nil {
				return err
			}
			if name == "id" {
				set[name] = x
			}
		}
	}
	for name, v := range all {
		if !v.IsKnown() {
			all[name] = tftypes.NewValue(plainly, nil)
		}
	}
	return nil
}

func (p *provider) ReadDataSource(_ context.Context, r *tfprotov5.ReadDataSourceRequest) (*tfprotov5.ReadDataSourceResponse, error) {
	of := "data." + r.TypeName
	k := kind(p.types[of])
	all, err := attributes(r.Config, k)
	if err == nil {
		err = p.complete(of, all)
	}
	if err != nil {
		return &tfprotov5.ReadDataSourceResponse{Diagnostics: faulty(err)}, nil
	}
	state, err := dynamic(all, k)
	return &tfprotov5.ReadDataSourceResponse{State: state, Diagnostics: faulty(err)}, nil
}

// ImportResourceState finds a resource by its id.
func (p *provider) ImportResourceState(_ context.Context, r *tfprotov5.ImportResourceStateRequest) (*tfprotov5.ImportResourceStateResponse, error) {
	state, err := p.imported(r.TypeName, r.ID)
	if err != nil {
		return &tfprotov5.ImportResourceStateResponse{Diagnostics: faulty(err)}, nil
	}
	return &tfprotov5.ImportResourceStateResponse{ImportedResources: []*tfprotov5.ImportedResource{{TypeName: r.TypeName, State: state}}}, nil
}

func (p *provider) imported(of, id string) (*tfprotov5.DynamicValue, error) {
	there, err := p.cloud.get(of, id)
	if err != nil {
		return nil, err
	}
	if there == nil {
		return nil, fmt.Errorf("there is no %s %s", of, id)
	}
	k, all := kind(p.types[of]), map[string]tftypes.Value{}
	for name := range p.types[of] {
		if all[name], err = fit(there.Values[name], k.AttributeTypes[name]); err != nil {
			return nil, err
		}
	}
	return dynamic(all, k)
}
