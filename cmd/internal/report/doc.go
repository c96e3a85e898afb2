// Package report draws pages: HTML of one file each, with plots, that needs no network and
// no script.
//
// The input is what the engine knows, a [project.Report] or a [project.Compared]; the output
// is HTML. The same input gives the same bytes. The package reads no files and knows no
// state. Whatever comes from users, such as the names of classes, is escaped by
// html/template; the plots (chart.go) hold numbers and texts of this package only.
package report
