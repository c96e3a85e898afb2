package azure

import (
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// reached are the services of Azure that units without access to the Internet reach, and without which an environment
// of Container Apps does not work. See "Securing a virtual network in Azure Container Apps".
var reached = []string{"AzureActiveDirectory", "AzureContainerRegistry", "AzureFrontDoor.FirstParty", "AzureKeyVault", "AzureMonitor", "MicrosoftContainerRegistry", "Storage"}

// network writes the network of jobs that do not use the Internet: its rules let them reach services of Azure only.
func (w *writer) network() {
	if len(w.in(false)) == 0 || w.Existing.Subnet != "" {
		return
	}
	f := w.file("network.tf")
	b := f.Resource("azurerm_virtual_network", "closed")
	b.Set("name", terraform.Text(w.prefix))
	placed(b, nil)
	b.Set("address_space", terraform.Texts(w.CIDR))
	b = f.Resource("azurerm_subnet", "closed")
	b.Set("name", terraform.Text("closed"))
	b.Set("resource_group_name", terraform.Code("local.group"))
	b.Set("virtual_network_name", cloud.Reference("azurerm_virtual_network", "closed", "name"))
	b.Set("address_prefixes", terraform.Texts(w.CIDR))
	d := b.Block("delegation")
	d.Set("name", terraform.Text("environments"))
	s := d.Block("service_delegation")
	s.Set("name", terraform.Text("Microsoft.App/environments"))
	s.Set("actions", terraform.Texts("Microsoft.Network/virtualNetworks/subnets/join/action"))
	b = f.Resource("azurerm_network_security_group", "closed")
	b.Set("name", terraform.Text(w.prefix))
	placed(b, nil)
	rule := func(name string, priority int, access, port, to string) {
		r := b.Block("security_rule")
		r.Set("name", terraform.Text(name))
		r.Set("priority", terraform.Int(int64(priority)))
		r.Set("direction", terraform.Text("Outbound"))
		r.Set("access", terraform.Text(access))
		r.Set("protocol", terraform.Text("*"))
		r.Set("source_address_prefix", terraform.Text("*"))
		r.Set("source_port_range", terraform.Text("*"))
		r.Set("destination_address_prefix", terraform.Text(to))
		r.Set("destination_port_range", terraform.Text(port))
	}
	for i, tag := range reached {
		rule(tag, 100+10*i, "Allow", "443", tag)
	}
	rule("Names", 200, "Allow", "53", "168.63.129.16/32")
	rule("Internet", 300, "Deny", "*", "Internet")
	b = f.Resource("azurerm_subnet_network_security_group_association", "closed")
	b.Set("subnet_id", cloud.Reference("azurerm_subnet", "closed", "id"))
	b.Set("network_security_group_id", cloud.Reference("azurerm_network_security_group", "closed", "id"))
}

// environments writes the environments of Container Apps that are needed, with one log for both.
func (w *writer) environments() {
	if len(w.units) == 0 {
		return
	}
	f := w.file("environments.tf")
	b := f.Resource("azurerm_log_analytics_workspace", "log")
	b.Set("name", terraform.Text(w.prefix))
	placed(b, nil)
	b.Set("sku", terraform.Text("PerGB2018"))
	b.Set("retention_in_days", terraform.Code("var.log_retention_days"))
	for _, x := range []struct {
		name string
		open bool
	}{{"closed", false}, {"open", true}} {
		if len(w.in(x.open)) == 0 {
			continue
		}
		b := f.Resource("azurerm_container_app_environment", x.name)
		b.Set("name", terraform.Text(w.environment(x.open)))
		placed(b, nil)
		b.Set("logs_destination", terraform.Text("log-analytics"))
		b.Set("log_analytics_workspace_id", cloud.Reference("azurerm_log_analytics_workspace", "log", "id"))
		if !x.open {
			if w.Existing.Subnet != "" {
				b.Set("infrastructure_subnet_id", terraform.Text(w.Existing.Subnet))
			} else {
				b.Set("infrastructure_subnet_id", cloud.Reference("azurerm_subnet_network_security_group_association", "closed", "subnet_id"))
			}
			b.Set("internal_load_balancer_enabled", terraform.Bool(true))
		}
		profile := func(name, kind string) {
			p := b.Block("workload_profile")
			p.Set("name", terraform.Text(name))
			p.Set("workload_profile_type", terraform.Text(kind))
		}
		profile(consumption, consumption)
		for _, p := range gpuProfiles {
			if slices.ContainsFunc(w.in(x.open), func(u *ir.Unit) bool {
				c, ok := containerFor(u.Needs)
				return ok && c.profile == p.name && w.place(u) != onEndpoint
			}) {
				profile(p.name, p.kind)
			}
		}
	}
}

// containerName is the name of the only container of a unit.
const containerName = "unit"
