"""Object stores by URL scheme."""

from runner.registry import Registry

STORES = Registry(
    "storage scheme",
    {
        "file": ("runner.stores.local:LocalStore", None),
        "gs": ("runner.stores.gcs.store:GcsStore", "gcp"),
        "http": ("runner.stores.http.store:HttpStore", None),
        "https": ("runner.stores.http.store:HttpStore", None),
        "minio": ("runner.stores.minio:MinioStore", "minio"),
        "s3": ("runner.stores.s3:S3Store", "aws"),
    },
)
