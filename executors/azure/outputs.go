package azure

import (
	"bytes"
	"embed"
	"slices"
	"text/template"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// outputs writes what whoever runs units has to know.
func (w *writer) outputs() {
	f := w.file("outputs.tf")
	f.Output("artifacts", "Folder of the system in the container of blobs.", terraform.Text(w.folderURL()))
	if len(w.units) == 0 {
		return
	}
	f.Output("identities", "Client ids of identities by unit.", cloud.Each(w.units, func(u *ir.Unit) terraform.Expr {
		return cloud.Reference("azurerm_user_assigned_identity", cloud.Label(u.ID), "client_id")
	}))
	f.Output("repository", "Where images are pushed.", terraform.Join(w.registryOf("login_server"), "/"+w.prefix+"/units"))
}

// folderURL returns the URL of the folder of the system in the container of blobs, as a store.
func (w *writer) folderURL() string {
	return "azblob://" + w.container() + "/" + w.root + "?storage_account=" + w.account()
}

//go:embed readme.md.tmpl aks.md.tmpl
var readmes embed.FS

var readmeTemplates = template.Must(template.ParseFS(readmes, "*.tmpl"))

// readme returns the page for whoever applies the files.
func (w *writer) readme() ([]byte, error) {
	var secrets []string
	for _, variable := range w.made() {
		secrets = append(secrets, secretName(variable))
	}
	data := struct {
		Header, System, Environment, Group, Location, Subscription, Provider, Version, Vault, Ingress, Prefix string
		Secrets, Emails                                                                                       []string
		Services, Jobs, GPUs, Learns, Closed, Budget, Alerts                                                  bool
	}{
		Header: terraform.Header, Prefix: w.prefix, System: w.sys.Name, Environment: cloud.Environment(w.sys), Group: w.Group, Location: w.Location, Subscription: w.Subscription,
		Provider: provider, Version: providerVersion, Vault: w.global(), Ingress: w.Ingress, Secrets: secrets, Emails: w.emails(), Services: len(w.at(onService)) > 0,
		Jobs: len(w.at(onJob)) > 0 || w.learns(), Learns: w.learns(),
		GPUs: slices.ContainsFunc(w.units, func(u *ir.Unit) bool { return u.Needs.GPU > 0 && (w.place(u) == onJob || w.place(u) == onService) }), Closed: len(w.in(false)) > 0, Budget: w.sys.Budget.Month != nil, Alerts: w.watched(),
	}
	var b bytes.Buffer
	name := "readme.md.tmpl"
	if w.Service == AKS {
		name = "aks.md.tmpl"
	}
	err := readmeTemplates.ExecuteTemplate(&b, name, data)
	return b.Bytes(), err
}
