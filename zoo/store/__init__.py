"""The store: published files, downloaded, verified, kept under the hash of their bytes.

Doors, for the rooms above: `store` (Store, open_store), `names` (a name becomes an entry, an entry a file),
`fetching_many` (several models side by side), `local` (LocalModel), `upkeep` and `bundles`.

    trust/      what may be opened, and what its bytes must be: addresses, hashes, lock files
    disk/       what lies in $ZOO_HOME: blobs, records, partial files, locks, space
    network/    one URL becomes one verified partial file
    sources/    what a URL of a registry stands for; one file per scheme
    upkeep/     verify, prune, take stock, ask the sources
    bundles/    models and runs as one file, for machines without a network"""
