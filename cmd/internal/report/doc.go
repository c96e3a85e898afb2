// Package report draws pages: HTML of one file each, with plots, that needs no network and
// no script.
//
// The input is what the engine knows, a [project.Report], a [project.Compared] or a
// [project.LoopReport]; the output is HTML. The same input gives the same bytes. The package
// reads no files and knows no state. Whatever comes from users, such as the names of classes, is escaped by
// html/template; the plots (chart.go) hold numbers, texts of this package, and escaped ones.
package report
