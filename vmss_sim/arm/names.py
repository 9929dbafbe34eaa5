"""How ARM spells the names of properties: what clients write in any case is kept in one.

Contract: `canonical` is a copy in which every name known to ARM has ARM's case. Names that belong to the user (tags, settings of
extensions, identities) are left as they are, and so is every value.
"""

from __future__ import annotations

from typing import Any

_SPELT = """
    actionOnDiskDelay additionalCapabilities additionalDiskProperties additionalUnattendContent
    addProxyAgentExtension adminPassword adminUsername alignRegionalDisksToVMZone allInstancesDown
    allocationStrategy allowExtensionOperations apiVersion applicationGatewayBackendAddressPools applicationProfile
    applicationSecurityGroups assessmentActivityId assessmentMode assignedHost automaticallyApprove
    automaticByPlatformSettings automaticOSUpgrade automaticOSUpgradePolicy automaticRepairsPolicy
    automaticSkuMigrationPolicy automaticZoneRebalancingPolicy autoUpgradeMinorVersion auxiliaryMode auxiliarySku
    availabilityPolicy availabilitySet availablePatchSummary baseRegularPriorityCount billingProfile bootDiagnostics
    burstingEnabled bypassPlatformSafetyChecksOnUserSchedule caching capacity capacityReservation
    capacityReservationGroup capacityReservationType certificateStore certificateUrl clientId code
    communityGalleryImageId componentName computerName computerNamePrefix configurationReference
    configurationStatuses consoleScreenshotBlobUri constrainedMaximumCapacity content createdAt createdBy
    createdByType createOption criticalAndSecurityPatchCount customData dataDisks dataDisksToAttach dataDisksToDetach defaultAction deleteOption
    detachOption details diagnosticsProfile diffDiskSettings disableAutomaticRollback
    disableCapacityReservationAssignment disablePasswordAuthentication disableTcpStateTracking diskAccessId
    diskApiVersion diskControllerType diskEncryptionKey diskEncryptionSet diskId diskIOPSReadOnly diskIOPSReadWrite
    diskMBpsReadOnly diskMBpsReadWrite disks diskSizeGB displayStatus dnsServers dnsSettings domainNameLabel
    domainNameLabelScope doNotRunExtensionsOnOverprovisionedVMs dscpConfiguration enable enableAcceleratedNetworking
    enableAutomaticOSUpgrade enableAutomaticUpdates enableAutomaticUpgrade enableCrossZoneUpgrade enabled
    enableFips1403Encryption enableFpga enableFullCaching enableHotpatching enableIPForwarding
    enableVMAgentPlatformUpdates encryptionAtHost encryptionIdentity encryptionSettings error etag
    eventGridAndResourceGraph evictionPolicy exactVersion excludedPatchCount excludeExtensions excludeZones
    expiryDuration extendedLocation extensionHandlers extensionProfile extensions extensionsTimeBudget
    externalHealthPolicy failedPatchCount firstPartyServiceTagId forceDeletion forceUpdateTag galleryApplications
    gracePeriod hardwareProfile healthProbe hibernationEnabled highSpeedInterconnectPlacement host hostGroup
    hyperVGeneration id identity idleTimeoutInMinutes image imageReference imds includeZones innererror
    installationActivityId installedPatchCount instanceId instanceView interconnectBlock interconnectBlockProfile
    interconnectGroup interconnectGroupProfile interconnectInstanceView interconnectSubgroupId
    inVMAccessControlProfileReferenceId ipConfigurations ipTags ipTagType isCustomerInitiatedMaintenanceAllowed
    isEnabled isOverridable isVMInStandbyPool keyData keyEncryptionKey keyIncarnationId keyUrl lastModifiedAt
    lastModifiedBy lastModifiedByType lastModifiedTime lastOperationMessage lastOperationResultCode
    lastPatchInstallationSummary latestModelApplied level licenseType lifecycleHooks lifecycleHooksProfile
    linuxConfiguration listeners loadBalancerBackendAddressPools loadBalancerInboundNatPools location
    logicalSectorSize lun maintenanceRedeployStatus maintenanceWindowEndTime maintenanceWindowExceeded
    maintenanceWindowStartTime managedBy managedDisk managedDiskProperties maxBatchInstancePercent
    maxInstancePercentPerZonePolicy maxPrice maxShares maxSurge maxUnhealthyInstancePercent
    maxUnhealthyUpgradedInstancePercent maxZoneCount message mode modelDefinitionApplied name networkAccessPolicy
    networkApiVersion networkInterfaceConfigurations networkInterfaces networkProfile networkProfileConfiguration
    networkSecurityGroup notBeforeTimeout notSelectedPatchCount offer operationRecoverySettings
    optimizedForFrequentAttach option orchestrationMode order osDisk osImageNotificationProfile osName osProfile
    osRollingUpgradeDeferral osType osVersion otherPatchCount overprovision packageReferenceId passName patchMode
    patchSettings patchStatus path pauseTimeBetweenBatches pendingPatchCount performancePlus placement
    placementGroupId plan platformFaultDomain platformFaultDomainCount platformUpdateDomain
    preMaintenanceWindowEndTime preMaintenanceWindowStartTime primary principalId prioritizeUnhealthyInstances
    prioritizeUnhealthyVMs priority priorityMixPolicy privateIPAddressVersion processorMode product promotionCode
    properties protectedSettings protectedSettingsFromKeyVault protectFromScaleIn protectFromScaleSetActions
    protectionPolicy protocol provisionAfterExtensions provisioningState provisionVMAgent proximityPlacementGroup
    proxyAgentSettings publicIPAddressConfiguration publicIPAddressVersion publicIPAllocationMethod publicIPPrefix
    publicKeys publisher rank rdpThumbPrint rebalanceBehavior rebalanceStrategy rebootPending rebootSetting
    regularPriorityPercentageAboveBase reimageRecoveryPolicy repairAction requireGuestProvisionSignal
    resiliencyPolicy resiliencyProfile resilientVMCreationPolicy resilientVMDeletionPolicy resilientVMDeletionStatus
    resources restartRecoveryPolicy restoreTimeout rollbackFailedInstancesOnPolicyBreach rollingUpgradePolicy rules
    scaleInPolicy scheduledEventsAdditionalPublishingTargets scheduledEventsApiVersion scheduledEventsPolicy
    scheduledEventsProfile secrets secretUrl secureBootEnabled securityEncryptionType securityPostureReference
    securityProfile securityType serialConsoleLogBlobUri serviceArtifactReference settingName settings
    sharedGalleryImageId singlePlacementGroup sku skuProfile sourceResource sourceVault spotRestorePolicy ssh
    startRecoveryPolicy startTime status statuses storageAccountType storageAlignmentStatus
    storageFaultDomainAlignment storageProfile storageUri subgroups subnet substatuses suppressFailures systemData
    tag tags target tenantId terminateNotificationProfile tier time timeCreated timeZone toBeDetached
    treatFailureAsDeploymentFailure type typeHandlerVersion uefiSettings ultraSSDEnabled uniqueId upgradePolicy uri
    useLocalFileRules userAssignedIdentities userAssignedIdentityResourceId userData userInitiatedReboot
    userInitiatedRedeploy useRollingUpgradePolicy value vaultCertificates vCPUsAvailable vCPUsPerCore version vhd
    vhdContainers virtualMachineProfile virtualMachineResourceId virtualMachineScaleSet vmAgent vmAgentVersion
    vmHealth vmId vmSize vmSizeProperties vmSizes vTpmEnabled waitDuration windowsConfiguration winRM wireServer
    writeAcceleratorEnabled zonalPlatformFaultDomainAlignMode zoneAllocationPolicy zoneBalance zoneMovement
    zonePlacementPolicy zones
"""
"""Every name in scale sets and VMs (the types of api-version 2026-04-01)."""

CANONICAL = {name.lower(): name for name in _SPELT.split()}

OF_THE_USER = frozenset({"tags", "settings", "protectedSettings", "userAssignedIdentities"})
"""Below these, names are the user's own."""


def canonical(value: Any) -> Any:
    """A document in ARM's own spelling."""
    if isinstance(value, dict):
        made = {}
        for name, inner in value.items():
            known = CANONICAL.get(name.lower(), name)
            made[known] = inner if known in OF_THE_USER else canonical(inner)
        return made
    return [canonical(inner) for inner in value] if isinstance(value, list) else value
