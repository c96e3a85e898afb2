// Package remote keeps artifacts where other machines reach them: in a folder
// that they share, on S3, on Google Cloud Storage or on Azure Blob Storage.
//
// A file goes in as a blob of its bytes under its digest. A folder goes in as a
// blob for every file and link in it and then, last, one of its listing, of
// which the folder's digest is made. So a folder is there whole or not at all,
// and what two of them share is kept once. What comes out is compared with its
// digest: the store is not trusted, nor are the paths in a listing.
//
// Beside the artifacts there are notes, small texts under names. The package
// does not know what is still wanted, and removes only what it is told to.
package remote
